"""An encoded image's bytes: pixels of the right form, or one of three errors."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from heimdex_clip.encoder.preprocess import preprocess
from heimdex_clip.errors import ClipError, ImageInvalid, ImageTooLarge
from tests.fuzz.fuzz_handler import picture
from tests.fuzz.target import Check, Target, check_error

_SIZE = 8
_MAX_PIXELS = 1_000_000


@contextmanager
def _open(_model: Path, _work: Path) -> Iterator[Check]:
    def check(data: bytes) -> None:
        try:
            pixels = preprocess(data, size=_SIZE, max_pixels=_MAX_PIXELS)
        except ClipError as error:
            check_error(error, ImageInvalid, ImageTooLarge)
        else:
            assert pixels.shape == (_SIZE, _SIZE, 3)
            assert pixels.dtype == np.dtype(np.uint8)

    yield check


def seeds() -> Sequence[bytes]:
    """Every format in several modes, whole, cut short, and with a size that lies."""
    whole = [picture("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    whole += [picture("JPEG", mode) for mode in ("L", "RGB", "CMYK", "YCbCr")]
    whole += [picture("WEBP", mode) for mode in ("RGB", "RGBA")] + [picture("GIF", mode) for mode in ("L", "P")]
    for form, options in (("JPEG", {"progressive": True}), ("PNG", {"interlace": 1}), ("GIF", {"save_all": True})):
        file = io.BytesIO()
        Image.linear_gradient("L").resize((17, 5)).save(file, form, **options)
        whole.append(file.getvalue())
    cut = [data[: len(data) // 2] for data in whole]
    png = picture("PNG")
    huge = png[:16] + b"\x00\x00\xff\xff\x00\x00\xff\xff" + png[24:]
    return [*whole, *cut, huge, b"", b"GIF89a", b"\xff\xd8\xff", b"RIFF\x00\x00\x00\x00WEBP"]


TARGET = Target(_open, seeds, json=False, runs=10000)
