"""Any text becomes token ids: nothing raises, every id is in range, no row is longer than the model reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from heimdex_clip.encoder import manifest
from heimdex_clip.encoder.tokenizer import Tokenizer
from tests.fuzz.hostile import STRINGS
from tests.fuzz.target import Check, Target

_MODEL = Path(__file__).parents[2] / "models" / "ViT-B-32-untrained-0"


@contextmanager
def _open(_model: Path, _work: Path) -> Iterator[Check]:
    if not (_MODEL / manifest.FILE_NAME).is_file():
        raise SystemExit(f"the test model is missing from {_MODEL}: run `make model` first")
    # The real vocabulary; its ids count from 0 to the end-of-text's, which is the last.
    rule = manifest.load(_MODEL).identity.tokenizer
    tokenizer = Tokenizer.load(_MODEL, rule)

    def check(data: bytes) -> None:
        text = data.decode(errors="replace")
        ids = tokenizer.encode(text)
        assert all(0 <= one <= rule.eot for one in ids)
        batch = tokenizer([text, "a"])
        assert batch.ids.shape[0] == 2
        assert batch.ids.shape[1] <= rule.context_length == 77
        assert (batch.ids[:, 0] == rule.sot).all()
        assert (batch.ids.max(), batch.ids.min() >= 0) == (rule.eot, True)
        assert batch.truncated == (len(ids) + 2 > rule.context_length, False)
        assert [int(row[end]) for row, end in zip(batch.ids, batch.eot, strict=True)] == [rule.eot, rule.eot]

    yield check


def seeds() -> Sequence[bytes]:
    """Scripts, entities, broken encodings, and texts that are nothing but the tokenizer's own marks."""
    texts = [
        "a photo of a cat",
        "don't they're we've I'm you'll he'd",
        "<start_of_text>a<end_of_text><end_of_text>",
        "&amp;amp;lt;p&amp;gt; &#x41; &#65; &nbsp;",
        "schÃ¶n â€œquotedâ€\x9d ＡＢＣ",
        "中文 हिन्दी العربية ไทย 👩‍👩‍👧 ﬁ ẞ İ",
        "\u00a0\u2003\u3000\t\r\n\x0b\x1c",
        "1234567890 ½ Ⅷ ٣",
        "a" * 300,
        json.dumps(STRINGS),
        *STRINGS,
    ]
    return [text.encode(errors="replace") for text in texts]


TARGET = Target(_open, seeds, json=False, runs=5000, max_bytes=8192)
