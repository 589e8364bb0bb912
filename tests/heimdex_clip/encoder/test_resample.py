"""The resampler's facade: what it takes, what it refuses, and that no variant differs from Pillow."""

from __future__ import annotations

import numpy as np
import pytest

from heimdex_clip.encoder.resample import PILLOW, resize_crop, variant, variants


def test_pillow_is_always_there_and_last() -> None:
    assert variants()[-1] == PILLOW
    assert variant() == variants()[0]


@pytest.mark.parametrize("name", variants())
def test_a_square_equals_pillows(name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (360, 640, 3)).astype(np.uint8)
    square = resize_crop(pixels, (398, 224), (87, 0), 224, variant=name)
    np.testing.assert_array_equal(square, resize_crop(pixels, (398, 224), (87, 0), 224, variant=PILLOW))
