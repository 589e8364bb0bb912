from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from heimdex_clip.encoder.bpe import BytePairs
from heimdex_clip.errors import ModelError

ALPHABET = sorted(ByteLevel.alphabet())


def pairs(*merges: str) -> BytePairs:
    """Each merge is written 'left right'; ids count the alphabet, its last forms, then the merges."""
    split = [(left, right) for left, right in (merge.split() for merge in merges)]
    return BytePairs(vocabulary(split), split, "$", {"<s>": 9999})


def vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    symbols = [*ALPHABET, *(letter + "$" for letter in ALPHABET), *map("".join, merges)]
    return {symbol: index for index, symbol in enumerate(symbols)}


def symbols(bpe: BytePairs, word: str) -> list[str]:
    names = {index: symbol for symbol, index in bpe._ids.items()}
    return [names[index] for index in bpe(word)]


@pytest.mark.parametrize(
    ("merges", "word", "expected"),
    [
        ([], "abc", ["a", "b", "c$"]),
        (["b c$", "a b"], "abc", ["a", "bc$"]),  # the lower rank first, wherever it stands
        (["a b", "b c$"], "abc", ["ab", "c$"]),
        (["a a"], "aaaaab", ["aa", "aa", "a", "b$"]),  # of equal ones the leftmost
        (["a a", "aa aa"], "aaaaaaaab", ["aaaa", "aaaa", "b$"]),
        (["a b", "ab ab", "abab c$"], "ababc", ["ababc$"]),
        (["a b", "c d", "ab cd", "abcd e"], "abcdef", ["abcde", "f$"]),
        (["a b"], "ab", ["a", "b$"]),  # a word's last symbol is another one
        (["a b$"], "ab", ["ab$"]),
        (["a b$"], "a", ["a$"]),
    ],
)
def test_merges_by_rank_then_from_the_left(merges: list[str], word: str, expected: list[str]) -> None:
    assert symbols(pairs(*merges), word) == expected


def test_letters_are_bytes_of_utf_8() -> None:
    assert symbols(pairs(), "é 日") == ["Ã", "©", "Ġ", "æ", "Ĺ", "¥$"]


def test_a_special_word_is_one_id_and_only_as_a_whole() -> None:
    assert pairs()("<s>") == (9999,)
    assert len(pairs()("<s>>")) == 4


def test_a_word_is_the_same_the_second_time() -> None:
    bpe = pairs("a b", "c d$")
    assert bpe("abcd") == bpe("abcd") == bpe._encode("abcd")


def test_long_words_are_not_remembered() -> None:
    """Strangers choose them, and the memory has room for words, not for their length."""
    bpe = pairs("a b")
    assert len(bpe("ab" * 1000)) == 1001
    assert bpe._remembered.cache_info().currsize == 0


FILE: dict[str, Any] = {
    "added_tokens": [{"content": "<s>", "id": 9999}],
    "model": {"vocab": vocabulary([("a", "b")]), "merges": [["a", "b"]], "end_of_word_suffix": "$"},
}


def test_reads_the_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(FILE))
    bpe = BytePairs.load(tmp_path / "tokenizer.json")
    assert (symbols(bpe, "abc"), bpe("<s>")) == (["ab", "c$"], (9999,))


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.pop("model"),
        lambda file: file.pop("added_tokens"),
        lambda file: file["model"].update(vocab=None),
        lambda file: file["model"].update(vocab={}),
        lambda file: file["model"]["vocab"].pop("ab"),
        lambda file: file["model"]["vocab"].pop("Ġ$"),
        lambda file: file["model"].update(merges=[["a"]]),
        lambda file: file["model"].update(merges=[["a", 1]]),
        lambda file: file["model"].update(merges=7),
        lambda file: file["model"].update(end_of_word_suffix=None),
        lambda file: file.update(added_tokens=["<s>"]),
        lambda file: file.update(added_tokens=None),
    ],
)
def test_a_file_that_lacks_something_is_one_line(tmp_path: Path, damage: Callable[[Any], object]) -> None:
    file = json.loads(json.dumps(FILE))
    damage(file)
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    with pytest.raises(ModelError, match=r"\Acannot use .*tokenizer\.json: no byte-pair vocabulary \(.+\)\Z"):
        BytePairs.load(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"7", b"null", b"[]", b"\x00" * 8])
def test_what_is_no_such_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"\Acannot use .*: no byte-pair vocabulary"):
        BytePairs.load(tmp_path / "tokenizer.json")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"\Acannot use .*: No such file or directory\Z"):
        BytePairs.load(tmp_path / "tokenizer.json")
