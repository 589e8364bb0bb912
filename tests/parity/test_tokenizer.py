"""Token ids are the reference's for any text that the contract lets through."""

from __future__ import annotations

import random
import string
from pathlib import Path

import numpy as np
import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as BpeTokenizer

from heimdex_clip.encoder import manifest
from heimdex_clip.encoder.tokenizer import FILE_NAME, Tokenizer

REFERENCE = open_clip.SimpleTokenizer()
CONTEXT = 77

TRICKY = (
    *("&amp;", "&amp;amp;lt;", "&#x27;", "&#0;", "&#xD800;", "&nbsp;", "&eacute", "&notit;"),  # entities
    *("Ã©", "â€™", "Ã\x83Â©", "ï¬\x81", "ðŸ\x98\x80", "\x92", "¶", "…"),  # mojibake, C1 controls
    *("👩‍👩‍👧‍👦", "🏳️‍🌈", "🇯🇵", "❤️", "👍🏽", "\u200d", "\ufe0f", "\u200b", "\u00ad", "\ufeff"),  # joined and invisible
    *("e\u0301", "\u0301", "ạ̈", "กำ", "한", "ﬁ", "Ⅷ", "²", "½", "٣", "१", "〇", "ǆ", "İ", "ı", "ŉ", "ß", "ẞ"),
    *("ſ", "K", "Å", "Ω", "'ſ", "'K", "it'ſ", "ς", "Σ", "ﬀ"),  # case folding meets IGNORECASE
    *("'", "'s", "'S", "'t", "'re", "'ve", "'m", "'ll", "'d", "’s", "''s", "s'", "ʼn"),
    *(
        "<start_of_text>",
        "<end_of_text>",
        "<START_OF_TEXT>",
        "<end_of_text",
        "<ſtart_of_text>",
        "<|endoftext|>",
        "</w>",
    ),
    *(" ", "\t", "\n", "\r\n", "\x0b", "\x1c", "\x85", "\u00a0", "\u2028", "\u3000", "\x00", "\x1b[31m"),
    *("a", "B", "cat", "DOG", "photograph", "1", "23", "_", "-", "--", "!!!", "#", "Ġ", "Ċ", "日本語", "мир", "שלום"),
)
texts = st.text() | st.lists(st.sampled_from(TRICKY) | st.text(max_size=3), max_size=60).map("".join)


@pytest.fixture(scope="module")
def tokenize(model_dir: Path) -> Tokenizer:
    return Tokenizer.load(model_dir, manifest.load(model_dir).identity.tokenizer)


def check(tokenize: Tokenizer, batch: list[str]) -> None:
    """Ids equal, the rest padding; end-of-text where the reference pools; truncation where it truncates."""
    own, expected = tokenize(batch), REFERENCE(batch).numpy()
    length = own.ids.shape[1]
    np.testing.assert_array_equal(own.ids, expected[:, :length])
    assert not expected[:, length:].any()
    np.testing.assert_array_equal(own.eot, expected.argmax(axis=1))
    assert own.truncated == tuple(len(REFERENCE.encode(text)) > CONTEXT - 2 for text in batch)


@given(text=texts)
@settings(max_examples=800)
def test_any_text(tokenize: Tokenizer, text: str) -> None:
    check(tokenize, [text])


@given(batch=st.lists(texts, min_size=1, max_size=6))
@settings(max_examples=80)
def test_any_batch(tokenize: Tokenizer, batch: list[str]) -> None:
    check(tokenize, batch)


@given(words=st.integers(70, 80), last=st.sampled_from(("cat", "antidisestablishmentarianism", "<end_of_text>", "!")))
@settings(max_examples=40)
def test_around_the_context_length(tokenize: Tokenizer, words: int, last: str) -> None:
    check(tokenize, ["dog " * words + last])


@given(text=st.text(st.characters(categories=("Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Mn")), max_size=40))
@settings(max_examples=200)
def test_letters_numbers_and_marks_of_every_script(tokenize: Tokenizer, text: str) -> None:
    check(tokenize, [text])


def test_a_long_word_with_many_merges(tokenize: Tokenizer) -> None:
    """Beyond what truncation hides: every id of a word that keeps the reference busy for a while."""
    word = "".join(random.Random(0).choices(string.ascii_lowercase, k=1500))
    assert tokenize.encode(word) == REFERENCE.encode(word)


def test_a_word_as_long_as_the_contract_allows(tokenize: Tokenizer, model_dir: Path) -> None:
    """32 thousand letters without a space: the reference's own loop needs a minute for these."""
    word = "".join(random.Random(1).choices(string.ascii_lowercase, k=32_768))
    rust = BpeTokenizer.from_file(str(model_dir / FILE_NAME))
    ids = tokenize.encode(word)
    assert REFERENCE.decode(ids).strip() == word
    assert ids == rust.encode([word], is_pretokenized=True, add_special_tokens=False).ids
    assert tokenize([word]).truncated == (True,)
