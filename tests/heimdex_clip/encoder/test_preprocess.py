from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from heimdex_clip.encoder.preprocess import preprocess, resized_size, to_pixels
from heimdex_clip.encoder.routes import PILLOW, Route
from heimdex_clip.errors import ClipError, ImageInvalid, ImageTooLarge, Overloaded
from tests.routes import name, routes

MAX_PIXELS = 10_000_000


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


class Read(Protocol):
    """Preprocessing on one route."""

    def __call__(self, data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]: ...


@pytest.fixture(params=routes(), ids=name)
def read(request: pytest.FixtureRequest) -> Read:
    def read(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
        return preprocess(data, size=224, max_pixels=max_pixels, route=request.param)

    return read


PICTURE = Image.effect_noise((64, 48), 80).convert("RGB")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_every_accepted_format_gives_rgb_of_the_graphs_size(read: Read, form: str) -> None:
    pixels = read(encoded(PICTURE, form))
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("form", ["BMP", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused(read: Read, form: str) -> None:
    with pytest.raises(ImageInvalid, match="JPEG, PNG, WEBP, GIF"):
        read(encoded(PICTURE, form))


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_bytes_that_are_no_image_are_refused(read: Read, data: bytes) -> None:
    with pytest.raises(ImageInvalid):
        read(data)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_image_is_refused_rather_than_padded(read: Read, form: str) -> None:
    data = encoded(PICTURE, form)
    with pytest.raises(ImageInvalid):
        read(data[: len(data) * 2 // 3])


def test_the_pixel_limit_counts_the_source(read: Read) -> None:
    data = encoded(Image.new("1", (400, 300)))
    assert read(data, max_pixels=400 * 300).shape == (224, 224, 3)
    with pytest.raises(ImageTooLarge, match="400 x 300 pixels; at most 119999"):
        read(data, max_pixels=400 * 300 - 1)


def test_the_pixel_limit_counts_the_resized_picture(read: Read) -> None:
    """A line of 1 x 1000 pixels is small as a file, and 50 million pixels once its short side is 224."""
    with pytest.raises(ImageTooLarge, match="224 x 224000"):
        read(encoded(Image.new("L", (1, 1000))))


def holding(data: bytes, route: Route) -> list[str]:
    """What `hold` saw of one picture, read on one route."""
    events: list[str] = []

    @contextmanager
    def hold(n_bytes: int) -> Iterator[None]:
        events.append(f"take {n_bytes}")
        try:
            yield
        finally:
            events.append("give back")

    with suppress(ClipError):
        preprocess(data, size=224, max_pixels=MAX_PIXELS, hold=hold, route=route)
    return events


def test_hold_is_asked_before_decoding_and_let_go_after() -> None:
    assert holding(encoded(PICTURE), PILLOW) == [f"take {4 * (64 * 48 + 298 * 224)}", "give back"]


@pytest.mark.parametrize("route", [route for route in routes() if route.rows], ids=name)
def test_hold_is_asked_again_for_a_jpeg_that_pillow_has_to_judge(route: Route) -> None:
    data = encoded(PICTURE, "JPEG")
    between = 4 * 48 * 224  # the rows between the resampler's two passes
    assert holding(data, route) == [f"take {64 * 48 * 3 + between}", "give back"]
    assert holding(data[:-40], route) == [
        f"take {64 * 48 * 3 + between}",
        "give back",
        f"take {64 * 48 * (4 + 3) + between}",
        "give back",
    ]


def test_a_refusal_by_hold_reaches_the_caller_as_it_is() -> None:
    def hold(n_bytes: int) -> Iterator[None]:
        raise Overloaded("no room")

    with pytest.raises(Overloaded, match="no room"):
        preprocess(encoded(PICTURE), size=224, max_pixels=MAX_PIXELS, hold=contextmanager(hold))


@pytest.mark.parametrize(
    ("source", "resized"),
    [
        ((640, 427), (335, 224)),
        ((427, 640), (224, 335)),
        ((224, 224), (224, 224)),
        ((1, 1), (224, 224)),
        ((3, 2), (336, 224)),
    ],
)
def test_resized_size_rounds_the_long_side_down(source: tuple[int, int], resized: tuple[int, int]) -> None:
    assert resized_size(source, 224) == resized


def test_orientation_in_exif_is_not_applied(read: Read) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read(encoded(PICTURE, "JPEG", exif=exif))
    np.testing.assert_array_equal(turned, read(encoded(PICTURE, "JPEG")))


def test_the_first_frame_of_an_animation_counts(read: Read) -> None:
    red, blue = Image.new("RGB", (30, 30), "red"), Image.new("RGB", (30, 30), "blue")
    pixels = read(encoded(red, "GIF", save_all=True, append_images=[blue]))
    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_alpha_is_dropped_not_laid_over_a_colour(read: Read) -> None:
    clear = Image.new("RGBA", (224, 224), (200, 100, 50, 0))
    assert read(encoded(clear))[0, 0].tolist() == [200, 100, 50]


def test_palettes_are_resized_by_index_before_they_become_colours(read: Read) -> None:
    """Converting first would blend the two colours at their border; the reference never does."""
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert {tuple(pixel) for pixel in read(encoded(image)).reshape(-1, 3).tolist()} == {(255, 0, 0), (0, 0, 255)}


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_16_bit_grey_keeps_its_high_byte(mode: str) -> None:
    values = np.full((224, 224), 0x80FF)
    dtype = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
    image = Image.frombytes(mode, (224, 224), values.astype(dtype).tobytes())
    assert np.unique(to_pixels(image, 224)).tolist() == [0x80]
