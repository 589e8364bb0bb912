"""tokenizer.json for the rust `tokenizers`, made from open_clip's own vocabulary and proven against it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import open_clip
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as BpeTokenizer

from export.checkpoint import sha256_of
from heimdex_clip.encoder import tokenizer
from heimdex_clip.encoder.manifest import TokenizerIdentity
from heimdex_clip.errors import ModelError

_PROOF_SEED = 20210105
_PROOF_COUNT = 400
# What each proof string is put together from.
_PIECES = (
    *"abcdefghijklmnopqrstuvwxyz ABCXYZ 0123456789 .,;:!?'\"-_()<>&#@/\\|~^",
    *("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "’s", "it's", "don't", "o'clock"),
    *("<start_of_text>", "<end_of_text>", "<START_OF_TEXT>", "<end_of_text", "<|endoftext|>", "</w>"),
    *("&amp;", "&amp;lt;", "&#x27;", "&nbsp;", "&eacute;", "Ã©", "â€™", "ï¬", "\u00a0", "\u200b", "\u2028"),
    *("é", "e\u0301", "ß", "ſ", "K", "İ", "ı", "ŉ", "ǆ", "ﬁ", "Å", "ά", "ς", "Ⅷ", "²", "½", "٣", "१"),
    *("日本", "語", "한국", "العربية", "עברית", "ไทย", "мир", "👍", "👩‍👩‍👧", "🇯🇵", "❤️", "\U0001f9d1\u200d\U0001f680"),
    *("photograph", "internationalisation", "antidisestablishmentarianism", "zzzzqqqq", "\t", "\n", "  ", "\x00"),
)


def write(folder: Path, context_length: int) -> TokenizerIdentity:
    """Write tokenizer.json; equal bytes for equal versions. Raises ModelError unless every proof string gets
    open_clip's ids through the encoder's own tokenizer.
    """
    reference = open_clip.SimpleTokenizer(context_length=context_length)
    specials = [AddedToken(name, special=True, normalized=False) for name in _special_names(reference)]
    merges = sorted(reference.bpe_ranks, key=reference.bpe_ranks.__getitem__)
    bpe = BpeTokenizer(models.BPE(vocab=reference.encoder, merges=merges, end_of_word_suffix="</w>"))
    # Words arrive split already; this only maps their bytes to the vocabulary's alphabet.
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.add_special_tokens(specials)
    path = folder / tokenizer.FILE_NAME
    path.write_text(bpe.to_str(pretty=False), encoding="utf-8")
    identity = TokenizerIdentity(
        sha256=sha256_of(path),
        context_length=context_length,
        sot=reference.sot_token_id,
        eot=reference.eot_token_id,
    )
    prove(folder, identity, proof_strings())
    return identity


def prove(folder: Path, identity: TokenizerIdentity, texts: Iterable[str]) -> None:
    """Raise ModelError for the first text whose ids differ from open_clip's."""
    reference = open_clip.SimpleTokenizer(context_length=identity.context_length)
    tokenize = tokenizer.Tokenizer.load(folder, identity)
    for text in texts:
        expected = reference([text])[0].numpy()
        batch = tokenize([text])
        length = batch.ids.shape[1]
        same = (batch.ids[0] == expected[:length]).all() and not expected[length:].any()
        if not same or batch.eot[0] != expected.argmax():
            raise ModelError(f"{folder / tokenizer.FILE_NAME} gives other token ids than open_clip for {text!a}")


def proof_strings() -> list[str]:
    """A few hundred strings of what is known to be tricky, the same ones every time."""
    # Not for secrets: only repeatable variety.
    rng = random.Random(_PROOF_SEED)  # noqa: S311
    mixed = ["".join(rng.choices(_PIECES, k=rng.randint(1, 40))) for _ in range(_PROOF_COUNT)]
    spaced = [" ".join(rng.choices(_PIECES, k=rng.randint(1, 20))) for _ in range(_PROOF_COUNT // 4)]
    return ["", " ", *_PIECES, *mixed, *spaced, "a" * 500, "word " * 200]


def _special_names(reference: open_clip.SimpleTokenizer) -> list[str]:
    return [reference.decoder[token] for token in (reference.sot_token_id, reference.eot_token_id)]
