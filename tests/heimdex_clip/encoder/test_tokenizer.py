from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heimdex_clip.encoder import manifest
from heimdex_clip.encoder.tokenizer import FILE_NAME, Tokenizer
from heimdex_clip.errors import ModelError
from tests import tiny_model


@pytest.fixture
def tokenize(tiny: Path) -> Tokenizer:
    return Tokenizer.load(tiny, manifest.load(tiny).identity.tokenizer)


@pytest.fixture
def ends(tiny: Path) -> tuple[int, int]:
    rule = manifest.load(tiny).identity.tokenizer
    return rule.sot, rule.eot


def test_rows_stand_between_start_and_end_and_are_padded_to_the_longest(
    tokenize: Tokenizer, ends: tuple[int, int]
) -> None:
    sot, eot = ends
    batch = tokenize(["abc", "a", ""])
    assert batch.ids.dtype == np.int64
    assert batch.ids.shape == (3, 5)
    assert batch.ids[0].tolist() == [sot, *tokenize.encode("abc"), eot]
    assert batch.ids[1].tolist() == [sot, *tokenize.encode("a"), eot, 0, 0]
    assert batch.ids[2].tolist() == [sot, eot, 0, 0, 0]
    assert batch.eot.tolist() == [4, 2, 1]
    assert batch.truncated == (False, False, False)


@pytest.mark.parametrize(("letters", "truncated"), [(tiny_model.CONTEXT - 2, False), (tiny_model.CONTEXT - 1, True)])
def test_a_row_over_the_context_is_cut_and_still_ends(
    tokenize: Tokenizer, ends: tuple[int, int], letters: int, truncated: bool
) -> None:
    batch = tokenize(["x" * letters])
    assert batch.truncated == (truncated,)
    assert batch.ids.shape == (1, tiny_model.CONTEXT)
    assert batch.eot.tolist() == [tiny_model.CONTEXT - 1]
    assert batch.ids[0, -1] == ends[1]


@pytest.mark.parametrize("text", ["A  Cat\n", "&#65;&amp;#32;cat", "a\u00a0cat", "\ta cat\u3000"])
def test_cleaning_comes_before_the_split(tokenize: Tokenizer, text: str) -> None:
    assert tokenize.encode(text) == tokenize.encode("a cat")


@pytest.mark.parametrize("digits", [20, 4300, 4301, 30_000])
def test_a_characters_number_of_any_length_is_read(tokenize: Tokenizer, digits: int) -> None:
    number = "9" * digits
    for text in (f"a &#{number}; b", f"a &amp;#{number}; b", f"a &#{number} b"):
        assert tokenize.encode(text) == tokenize.encode("a \ufffd b")


def test_words_are_apart_and_digits_single(tokenize: Tokenizer) -> None:
    """The end-of-word form of a letter shows where the split lies."""
    assert tokenize.encode("ab") != tokenize.encode("a b")
    assert tokenize.encode("12") == tokenize.encode("1 2")
    assert tokenize.encode("it's") == tokenize.encode("it 's")


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model": {"type": "nonsense"}}'])
def test_a_broken_file_is_one_line(tiny: Path, content: str) -> None:
    (tiny / FILE_NAME).write_text(content)
    with pytest.raises(ModelError, match=r"cannot use .*tokenizer\.json"):
        Tokenizer.load(tiny, manifest.load(tiny).identity.tokenizer)
