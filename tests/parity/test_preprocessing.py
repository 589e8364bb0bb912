"""The preprocessing is bit for bit the reference's: no tolerance anywhere in this file."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from open_clip.transform import image_transform
from PIL import Image

from export import corpus, reference
from heimdex_clip.encoder.preprocess import preprocess, to_pixels
from tests.routes import routes

SIZE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
MAX_PIXELS = 30_000_000
TRANSFORM = image_transform(SIZE, is_train=False, mean=MEAN, std=STD)
CHANNELS = {"L": 1, "P": 1, "PA": 2, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}


def expected(image: Image.Image) -> NDArray[np.uint8]:
    """The reference's pixels."""
    return reference.to_pixels(TRANSFORM, image)


def every_route(data: bytes) -> NDArray[np.uint8]:
    """The pixels, which are the same whatever way this machine makes them."""
    first, *others = [preprocess(data, size=SIZE, max_pixels=MAX_PIXELS, route=route) for route in routes()]
    for other in others:
        np.testing.assert_array_equal(other, first)
    return first


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    """Width and height of 1 to 700, the resized picture below MAX_PIXELS."""
    width, height = draw(st.tuples(st.integers(1, 700), st.integers(1, 700)))
    longest = MAX_PIXELS // (SIZE * SIZE)
    return min(width, height * longest), min(height, width * longest)


@st.composite
def pictures(draw: st.DrawFn, modes: tuple[str, ...]) -> Image.Image:
    """Random pictures: noise, smooth or two-coloured; palettes and single clear colours at random too."""
    mode, (width, height) = draw(st.sampled_from(modes)), draw(sizes())
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (height, width, CHANNELS.get(mode, 1))
    values: NDArray[np.generic]
    kind = draw(st.sampled_from(("noise", "smooth", "two values")))
    if kind == "noise":
        values = random.integers(0, 256, shape)
    elif kind == "smooth":
        values = np.linspace(0, 255, shape[0] * shape[1] * shape[2]).reshape(shape)
    else:
        values = random.choice(random.integers(0, 256, 2), shape)
    if mode == "1":
        return Image.fromarray(values[..., 0].astype(np.uint8) > 127)
    image = Image.frombytes(mode, (width, height), values.astype(np.uint8).tobytes())
    if mode in ("P", "PA"):
        image.putpalette(random.integers(0, 256, 768).astype(np.uint8).tobytes())
    clear = draw(st.booleans())
    if clear and mode == "P":
        image.info["transparency"] = draw(st.sampled_from((7, bytes(range(256)))))
    elif clear and mode in ("L", "RGB"):
        image.info["transparency"] = 7 if mode == "L" else (7, 8, 9)
    return image


@given(pictures(modes=("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")))
def test_pixels_of_any_mode_and_size(image: Image.Image) -> None:
    np.testing.assert_array_equal(to_pixels(image.copy(), SIZE), expected(image))


ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("PNG", {}),
    "JPEG": ("JPEG", {"quality": 90}),
    "progressive JPEG": ("JPEG", {"quality": 60, "progressive": True}),
    "WebP": ("WEBP", {"quality": 80}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "GIF": ("GIF", {}),
}
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("1", "L", "P", "RGB", "RGBA"),
}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_pixels_of_encoded_bytes(encoder: str) -> None:
    form, options = ENCODERS[encoder]

    @given(pictures(modes=MODES[form]))
    @settings(max_examples=15)
    def check(image: Image.Image) -> None:
        buffer = io.BytesIO()
        if form == "GIF" and not isinstance(image.info.get("transparency"), int):
            image.info.pop("transparency", None)  # Pillow cannot write it
        image.save(buffer, form, **options)
        actual = every_route(buffer.getvalue())
        with Image.open(io.BytesIO(buffer.getvalue())) as stored:
            np.testing.assert_array_equal(actual, expected(stored))

    check()


@given(size=sizes(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_pixels_of_16_bit_grey_are_the_references_of_the_high_byte(size: tuple[int, int], seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 65536, size[::-1]).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    actual = every_route(buffer.getvalue())
    np.testing.assert_array_equal(actual, expected(Image.fromarray((values >> 8).astype(np.uint8))))


@pytest.mark.parametrize("case", [*corpus.photographs(), *corpus.hostile()], ids=lambda case: case.name)
def test_pixels_of_the_corpus(case: corpus.Case) -> None:
    wanted = expected(reference.open_image(case.data))
    np.testing.assert_array_equal(every_route(case.data), wanted)


def test_a_reader_that_rounds_the_crop_down_would_be_caught() -> None:
    """The corpus holds sizes where floor and half-to-even differ, so the tests above can fail."""
    image = Image.open(io.BytesIO(next(case.data for case in corpus.hostile() if case.name == "size 227x224")))
    wrong = np.asarray(image.crop((1, 0, 1 + SIZE, SIZE)))  # (227 - 224) // 2 = 1; half to even gives 2
    assert not np.array_equal(wrong, expected(image))


def test_normalised_values_are_the_references(arithmetic: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> None:
    """x / 255, minus mean, by std, each step in float32: what the graph does on the pixels."""
    for case in corpus.photographs():
        image = reference.open_image(case.data)
        wanted = TRANSFORM(image).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(arithmetic(to_pixels(image, SIZE)), wanted)


@pytest.fixture
def arithmetic() -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    return lambda pixels: (pixels.astype(np.float32) / np.float32(255) - mean) / std
