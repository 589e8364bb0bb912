"""Real photographs, from the packages that carry some, as JPEGs of a wanted size."""

from __future__ import annotations

import importlib.resources
import io
from importlib.resources.abc import Traversable

from PIL import Image

TILE = (640, 360)
QUALITY = 90
_SKIMAGE = (
    "data/coffee.png",
    "data/rocket.jpg",
    "data/astronaut.png",
    "data/chelsea.png",
    "data/motorcycle_left.png",
    "data/retina.jpg",
    "data/hubble_deep_field.jpg",
)
_SKLEARN = ("datasets/images/china.jpg", "datasets/images/flower.jpg")
COUNT = len(_SKIMAGE) + len(_SKLEARN)
"""How many different photographs there are of each size."""


def jpegs(width: int, height: int) -> list[bytes]:
    """`COUNT` different JPEGs of exactly `width` x `height` pixels, 4:2:0, quality `QUALITY`.

    Anything larger than `TILE` is a sheet of several photographs side by side: one small photograph
    enlarged would have no fine detail, and decode faster than what a camera makes.
    """
    tiles = [_covering(photo, *TILE) for photo in _photographs()]
    if width <= TILE[0] and height <= TILE[1]:
        return [_jpeg(_covering(tile, width, height)) for tile in tiles]
    return [_jpeg(_sheet(tiles[first:] + tiles[:first], width, height)) for first in range(len(tiles))]


def _photographs() -> list[Image.Image]:
    files: list[Traversable] = [importlib.resources.files("skimage") / name for name in _SKIMAGE]
    files += [importlib.resources.files("sklearn") / name for name in _SKLEARN]
    return [Image.open(io.BytesIO(file.read_bytes())).convert("RGB") for file in files]


def _covering(photo: Image.Image, width: int, height: int) -> Image.Image:
    """The photograph's middle, resized to fill `width` x `height`."""
    scale = max(width / photo.width, height / photo.height)
    size = max(width, round(photo.width * scale)), max(height, round(photo.height * scale))
    resized = photo.resize(size, Image.Resampling.LANCZOS)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return resized.crop((left, top, left + width, top + height))


def _sheet(tiles: list[Image.Image], width: int, height: int) -> Image.Image:
    sheet = Image.new("RGB", (width, height))
    places = [(x, y) for y in range(0, height, TILE[1]) for x in range(0, width, TILE[0])]
    for index, place in enumerate(places):
        sheet.paste(tiles[index % len(tiles)], place)
    return sheet


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return file.getvalue()
