from __future__ import annotations

import io
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import parity, pictures


def test_vectors_are_compared_at_norm_one_and_refusals_stay_holes() -> None:
    expected: parity.Vectors = [np.array([3.0, 4.0]), np.array([1.0, 0.0]), np.array([1.0, 0.0])]
    vectors: parity.Vectors = [np.array([0.6, 0.8]), np.array([0.0, 2.0]), None]

    row = parity.compare("peer", "images", vectors, expected, {"2": "refused"})

    assert row.cosine == [pytest.approx(1.0), pytest.approx(0.0), None]
    assert row.max_abs[1] == pytest.approx(1.0)
    assert row.max_abs[2] is None


def test_nearer_counts_only_where_both_answered() -> None:
    own = parity.Row("own", "images", [1.0] * 4, [1e-8, 1e-8, None, 1e-8], {})
    peer = parity.Row("peer", "images", [1.0] * 4, [1e-9, 1e-8, 0.0, None], {})

    assert parity.nearer(own, peer) == [0]


def test_the_pictures_are_200_varied_ones_and_the_same_every_time(tmp_path: Path) -> None:
    found = pictures.images()

    assert len(found) == pictures.COUNT == len({name for name, _ in found})
    again = dict(itertools.islice(pictures.variants(), 5))
    assert again.items() <= {name.partition(" ")[2]: data for name, data in found}.items()
    opened = [Image.open(io.BytesIO(data)) for _, data in found]
    assert {image.mode for image in opened} >= {"RGB", "L", "P", "RGBA", "LA", "CMYK", "1"}
    assert {image.format for image in opened} >= {"JPEG", "PNG", "WEBP", "GIF"}
    # Half of all sides leave an odd rest after the crop; a floor and a rounding to even differ on some of those.
    rests = [max(int(224 * max(image.size) / min(image.size)) - 224, 0) for image in opened]
    assert sum(round(rest / 2) != math.floor(rest / 2) for rest in rests) >= 30
    paths = parity.write(found[:3], tmp_path / "new")
    assert [path.read_bytes() for path in paths] == [data for _, data in found[:3]]


def test_the_texts_are_100_different_ones_with_long_and_foreign_among_them() -> None:
    texts = pictures.texts()

    assert len(texts) == pictures.TEXT_COUNT == len(set(texts))
    assert max(map(len, texts)) > 500
    assert sum(not text.isascii() for text in texts) >= 20
