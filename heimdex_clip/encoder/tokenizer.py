"""Text -> token ids, equal to open_clip's SimpleTokenizer for any input.

Cleaning (ftfy, HTML entities, white space, lower case) and the split into words are the reference's own
definitions, on the packages it uses itself, because the Unicode tables decide the result.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heimdex_clip.encoder.bpe import BytePairs
from heimdex_clip.encoder.manifest import TokenizerIdentity

if TYPE_CHECKING:
    import regex

FILE_NAME = "tokenizer.json"
WORDS = r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""The reference's split, for the `regex` package with IGNORECASE."""

# Where html.unescape, and with it the reference, raises ValueError: Python reads no whole number of more digits.
_NO_CHARACTER = re.compile(r"&#[0-9]{4301,};?")


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """`ids`: int64 ``[B, L]``, padded with 0 to the longest row. `eot`: int64 ``[B]``, each row's end-of-text
    index, where the text tower reads. `truncated`: which rows lost tokens.
    """

    ids: NDArray[np.int64]
    eot: NDArray[np.int64]
    truncated: tuple[bool, ...]


class Tokenizer:
    """Tokenizes by the identity's rules. Safe to call from several threads."""

    def __init__(self, bpe: BytePairs, identity: TokenizerIdentity) -> None:
        import ftfy
        import regex

        self._bpe = bpe
        self._identity = identity
        self._words: regex.Pattern[str] = regex.compile(WORDS, regex.IGNORECASE)
        self._fix_text = ftfy.fix_text

    @classmethod
    def load(cls, folder: Path, identity: TokenizerIdentity) -> Tokenizer:
        """Read tokenizer.json. Raises ModelError when it cannot be used."""
        return cls(BytePairs.load(folder / FILE_NAME), identity)

    def encode(self, text: str, limit: int | None = None) -> list[int]:
        """The text's ids without start and end, the first `limit` of them."""
        return list(islice(self._ids(text), limit))

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenize at least one text; rows are trimmed to the longest, which the causal tower allows."""
        start, end = self._identity.sot, self._identity.eot
        limit = self._identity.context_length - 2
        rows, truncated = [], []
        for text in texts:
            row = self.encode(text, limit + 1)
            truncated.append(len(row) > limit)
            rows.append([start, *row[:limit], end])
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
        # The reference pools at the first end-of-text, also where the text spells it out.
        eot = np.array([row.index(end) for row in rows], np.int64)
        return TokenBatch(ids, eot, tuple(truncated))

    def _ids(self, text: str) -> Iterator[int]:
        cleaned = " ".join(_unescape(_unescape(self._fix_text(text))).split()).lower()
        for word in self._words.finditer(cleaned):
            yield from self._bpe(word.group())


def _unescape(text: str) -> str:
    """HTML's character references as characters; a number that is too large is none, however long it is written."""
    return html.unescape(_NO_CHARACTER.sub("\ufffd", text))
