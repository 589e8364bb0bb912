"""Words -> token ids by byte-pair encoding, from a tokenizer.json (the format of Hugging Face's `tokenizers`).

A few lines of our own, because that package brings a model hub's client (33 MB installed) and takes 15 MB more memory
for the same vocabulary. The reference's loop over a word is quadratic in its length and this one is not: a heap holds
the pairs that can be merged. Both give the same ids, since a pair that a merge makes always ranks after that merge.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from heimdex_clip.errors import ModelError

Pair = tuple[str, str]

_REMEMBERED = 8192  # words
_LONGEST_REMEMBERED = 40  # letters: a query's words are shorter, and what is longer seldom comes again


class BytePairs:
    """A vocabulary and its merges. Safe to call from several threads."""

    def __init__(self, ids: Mapping[str, int], merges: list[Pair], suffix: str, specials: Mapping[str, int]) -> None:
        """`ids` of all symbols; `merges` in the order of their rank; `suffix` marks a word's last symbol;
        `specials` are whole words with an id of their own.

        Raises KeyError for a symbol that may come up and has no id.
        """
        for symbol in (*_LETTERS, *(letter + suffix for letter in _LETTERS), *map("".join, merges)):
            ids[symbol]
        self._ids, self._suffix, self._specials = ids, suffix, specials
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._remembered = lru_cache(_REMEMBERED)(self._encode)

    @classmethod
    def load(cls, path: Path) -> BytePairs:
        """Read tokenizer.json. Raises ModelError when it cannot be used."""
        try:
            file = json.loads(path.read_bytes())
            model = file["model"]
            return cls(
                model["vocab"],
                [(left, right) for left, right in model["merges"]],
                model["end_of_word_suffix"],
                {token["content"]: token["id"] for token in file["added_tokens"]},
            )
        except OSError as error:
            raise ModelError(f"cannot use {path}: {error.strerror}") from None
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ModelError(f"cannot use {path}: no byte-pair vocabulary ({type(error).__name__}: {error})") from None

    def __call__(self, word: str) -> tuple[int, ...]:
        """The ids of one word, which is not empty and has no lone surrogate."""
        return self._encode(word) if len(word) > _LONGEST_REMEMBERED else self._remembered(word)

    def _encode(self, word: str) -> tuple[int, ...]:
        if word in self._specials:
            return (self._specials[word],)
        symbols = [_LETTERS[byte] for byte in word.encode()]
        symbols[-1] += self._suffix
        return tuple(self._ids[symbol] for symbol in _merged(symbols, self._ranks))


def _merged(symbols: list[str], ranks: Mapping[Pair, int]) -> Iterator[str]:
    """What is left when no pair has a rank: the lowest first, and of equal ones the leftmost."""
    end = len(symbols)
    before, after = list(range(-1, end - 1)), list(range(1, end + 1))
    heap = [(ranks[pair], left) for left, pair in enumerate(pairwise(symbols)) if pair in ranks]
    heapq.heapify(heap)
    while heap:
        rank, left = heapq.heappop(heap)
        right = after[left]
        if right == end or ranks.get((symbols[left], symbols[right])) != rank:
            continue  # another merge took one of the two
        symbols[left] += symbols[right]
        symbols[right] = ""
        after[left] = following = after[right]
        if following < end:
            before[following] = left
        for first, second in ((before[left], left), (left, following)):
            if first >= 0 and second < end and (new := ranks.get((symbols[first], symbols[second]))) is not None:
                heapq.heappush(heap, (new, first))
    return filter(None, symbols)


def _letters() -> list[str]:
    """A letter for each byte, GPT-2's: printable bytes stand for themselves, the others for what follows 255."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


_LETTERS = _letters()
