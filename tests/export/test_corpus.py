from __future__ import annotations

import io

import pytest
from PIL import Image

from export import corpus
from export.corpus import Case
from heimdex_clip.encoder.preprocess import FORMATS

CASES = {case.name: case for cases in corpus.groups().values() for case in cases}


def opened(name: str) -> Image.Image:
    return Image.open(io.BytesIO(CASES[name].data))


def test_names_are_unique_and_groups_not_empty() -> None:
    groups = corpus.groups()
    assert len(CASES) == sum(map(len, groups.values()))
    assert all(groups.values())


def test_the_corpus_is_the_same_every_time() -> None:
    assert corpus.hostile() == corpus.hostile()


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_every_picture_is_in_a_format_that_a_worker_accepts(case: Case) -> None:
    with Image.open(io.BytesIO(case.data), formats=FORMATS) as image:
        image.load()


@pytest.mark.parametrize(
    ("name", "form", "mode"),
    [
        ("palette", "PNG", "P"),
        ("RGBA", "PNG", "RGBA"),
        ("grey", "PNG", "L"),
        ("grey with alpha", "PNG", "LA"),
        ("1-bit", "PNG", "1"),
        ("CMYK JPEG", "JPEG", "CMYK"),
        ("16-bit grey", "PNG", "I;16"),
        ("grey JPEG", "JPEG", "L"),
        ("WebP with alpha", "WEBP", "RGBA"),
        ("GIF", "GIF", "P"),
    ],
)
def test_a_picture_is_what_its_name_says(name: str, form: str, mode: str) -> None:
    assert (opened(name).format, opened(name).mode) == (form, mode)


def test_metadata_traps_are_set() -> None:
    assert opened("EXIF-rotated JPEG").getexif()[0x0112] == 6
    assert opened("progressive JPEG").info["progressive"]
    assert getattr(opened("animated GIF"), "n_frames", 1) == 3
    assert isinstance(opened("palette, graded alpha").info["transparency"], bytes)
    assert opened("palette, one clear colour").info["transparency"] == 3
    assert opened("RGB, one clear colour").info["transparency"] == (10, 20, 30)


@pytest.mark.parametrize("name", ["16-bit RGB", "16-bit grey with alpha"])
def test_16_bit_pngs_hold_16_bits(name: str) -> None:
    assert CASES[name].data[24] == 16  # the header's bit depth


def test_16_bit_grey_reaches_far_beyond_8_bits() -> None:
    assert opened("16-bit grey").getextrema() == (0, 65535)
