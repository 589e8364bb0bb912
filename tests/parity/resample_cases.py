"""Generated pictures for the resampler, and what Pillow makes of them: case N is the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from heimdex_clip.encoder.preprocess import resized_size
from heimdex_clip.encoder.resample import PILLOW, resize_crop, variants

LARGEST_SIDE = 5000
KINDS = ("flat", "noise", "two values", "gradient", "stripes", "impulses")
_SIZE = 224
_GREY_DIMENSIONS = 2
# Pillow makes the whole resized picture, so a case's price is its area. A few are let out further.
_RARE, _RARE_TIMES = 1 / 50, 12


@dataclass(frozen=True, slots=True)
class Geometry:
    """What is resized to what, and the square that is kept of it."""

    source: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]
    size: int

    def features(self) -> list[str]:
        """What is special about it, for the counts."""
        (width, height), (new_width, new_height) = self.source, self.resized
        narrower, lower = width - new_width, height - new_height
        found = {
            "upscaled": new_width > width and new_height > height,
            "downscaled": new_width < width and new_height < height,
            "one way up, one way down": narrower * lower < 0,
            "a side unchanged": narrower == 0 or lower == 0,
            "y before x": lower > max(0, 2 * narrower),
            "ratio above 10": max(width, height) > 10 * min(width, height),
            "ratio above 500": max(width, height) > 500 * min(width, height),
        }
        return [name for name, holds in found.items() if holds]


@dataclass(frozen=True, slots=True)
class Case:
    """One picture, uint8 [H, W] or [H, W, 3 or 4], and its geometry."""

    kind: str
    pixels: NDArray[np.uint8]
    geometry: Geometry


def case(seed: int, index: int, *, usual_area: int = 1_000_000) -> Case:
    """The `index`-th case of a seed: below `usual_area` pixels before and after resizing, but for a few."""
    random = np.random.default_rng([seed, index])
    geometry = _geometry(random, usual_area)
    width, height = geometry.source
    channels = int(random.choice([1, 3, 4], p=[0.3, 0.6, 0.1]))
    kind = str(random.choice(KINDS))
    pixels = _PAINT[kind](random, (height, width, channels), height / geometry.resized[1])
    return Case(kind, np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels), geometry)


def differing(given: Case) -> list[str]:
    """The variants of this machine, Pillow's own among them, whose bytes are not the reference's."""
    wanted, geometry = reference(given), given.geometry
    return [
        name
        for name in variants()
        if not np.array_equal(
            resize_crop(given.pixels, geometry.resized, geometry.corner, geometry.size, variant=name), wanted
        )
    ]


def reference(given: Case) -> NDArray[np.uint8]:
    """Pillow's resize of the whole picture, then the crop."""
    (left, top), size = given.geometry.corner, given.geometry.size
    pixels = given.pixels if given.pixels.ndim == _GREY_DIMENSIONS else given.pixels[..., :3]
    image = Image.fromarray(pixels).resize(given.geometry.resized, Image.Resampling.BICUBIC)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def compiled() -> list[str]:
    """The variants that are under test here."""
    return [name for name in variants() if name != PILLOW]


def contract(source: tuple[int, int], size: int = _SIZE) -> Geometry:
    """The geometry that open_clip's transform gives a picture of `source` (width, height)."""
    resized = resized_size(source, size)
    left, top = (round((side - size) / 2.0) for side in resized)
    return Geometry(source, resized, (left, top), size)


def _geometry(random: np.random.Generator, usual_area: int) -> Geometry:
    largest = usual_area * (_RARE_TIMES if random.random() < _RARE else 1)
    free = random.random() < 0.2
    while True:
        source = (_side(random, LARGEST_SIDE), _side(random, LARGEST_SIDE))
        size = _SIZE if random.random() < 0.7 else _side(random, 300)
        made = contract(source, size)
        if free:  # any resized picture and any square in it: the resampler knows no contract
            resized = (size + _side(random, 900) - 1, size + _side(random, 900) - 1)
            left, top = (int(random.integers(0, side - size + 1)) for side in resized)
            made = Geometry(source, resized, (left, top), size)
        if max(source[0] * source[1], made.resized[0] * made.resized[1]) <= largest:
            return made


def _side(random: np.random.Generator, largest: int) -> int:
    """1 to `largest`, log-uniform."""
    return int(np.exp(random.uniform(0.0, np.log(largest + 1))))


_Shape = tuple[int, int, int]


def _flat(random: np.random.Generator, shape: _Shape, _scale: float) -> NDArray[np.uint8]:
    return np.broadcast_to(random.integers(0, 256, shape[2], np.uint8), shape)


def _noise(random: np.random.Generator, shape: _Shape, _scale: float) -> NDArray[np.uint8]:
    return random.integers(0, 256, shape, np.uint8)


def _two_values(random: np.random.Generator, shape: _Shape, _scale: float) -> NDArray[np.uint8]:
    return np.where(random.integers(0, 2, shape, np.uint8) == 1, np.uint8(255), np.uint8(0))


def _gradient(random: np.random.Generator, shape: _Shape, _scale: float) -> NDArray[np.uint8]:
    height, width, channels = shape
    down, across = np.linspace(0, 127.5, height), np.linspace(0, 127.5, width)
    plane = (down[:, None] + across[None, :]).astype(np.uint8)
    turned = [plane ^ value for value in random.integers(0, 256, channels, np.uint8)]
    return np.stack(turned, axis=2)


def _stripes(random: np.random.Generator, shape: _Shape, scale: float) -> NDArray[np.uint8]:
    """0 and 255 in turn, often as wide as the filter's lobes: the largest overshoot on both sides."""
    height, width, channels = shape
    wide = max(1, round(scale * float(random.choice([0.5, 1.0, 2.0])))) if random.random() < 0.6 else 1
    on_x, on_y = random.integers(0, 2, 2)
    phase = (np.arange(height)[:, None] // wide * on_y + np.arange(width)[None, :] // wide * on_x) % 2
    plane = (phase * 255).astype(np.uint8)
    return np.repeat(plane[..., None], channels, axis=2)


def _impulses(random: np.random.Generator, shape: _Shape, _scale: float) -> NDArray[np.uint8]:
    ground = np.uint8(random.choice([0, 255]))
    pixels = np.full(shape, ground)
    for _ in range(20):
        pixels[random.integers(0, shape[0]), random.integers(0, shape[1])] = 255 - ground
    return pixels


_PAINT = {
    "flat": _flat,
    "noise": _noise,
    "two values": _two_values,
    "gradient": _gradient,
    "stripes": _stripes,
    "impulses": _impulses,
}
