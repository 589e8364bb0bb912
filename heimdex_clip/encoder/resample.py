"""Pillow's bicubic resize of 8-bit pixels, of which only the kept square is computed, bit for bit.

The C extension is optional. Without it, or by the variant `PILLOW`, Pillow itself does the work and the result is
the same. docs/adr/0005-resampling.md has the arithmetic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    from heimdex_clip.encoder import _resample
except ImportError:  # built only where there is a compiler
    _resample = None  # type: ignore[assignment]  # a module has no type to unite with None

PILLOW = "pillow"
_MODES = {1: "L", 3: "RGB", 4: "RGBX"}
_GREY = 1


def variants() -> tuple[str, ...]:
    """What this machine can run, best first: of avx512, avx2, neon and c those that it has, and always `PILLOW`."""
    compiled = _resample.variants() if _resample is not None else []
    return (*compiled, PILLOW)


def variant() -> str:
    """The one that `resize_crop` takes when none is named."""
    return variants()[0]


def resize_crop(
    source: NDArray[np.uint8], resized: tuple[int, int], corner: tuple[int, int], size: int, *, variant: str = ""
) -> NDArray[np.uint8]:
    """The `size` x `size` pixels from `corner` (left, top) on of `source` resized to `resized` (width, height).

    `source` is uint8 and C-contiguous: ``[H, W]`` or ``[H, W, 1]`` grey, which gives ``[size, size]``, or
    ``[H, W, 3]`` RGB or ``[H, W, 4]`` RGB and a byte without meaning, which give ``[size, size, 3]``. Its sides are at
    most 2**24. The GIL is released meanwhile. Raises ValueError for any other array, a square that leaves the resized
    picture, and a variant that this machine has not; MemoryError.
    """
    pixel_bytes = _pixel_bytes(source)
    if min(size, *resized) < 1 or not all(0 <= at <= side - size for at, side in zip(corner, resized, strict=True)):
        raise ValueError("the square must lie inside the resized picture")
    variant = variant or variants()[0]
    if variant == PILLOW:
        return _by_pillow(source, resized, corner, size, _MODES[pixel_bytes])
    if _resample is None:
        raise ValueError(f"the extension is not built: no variant {variant!r}")
    out = np.empty((size, size) if pixel_bytes == _GREY else (size, size, 3), np.uint8)
    _resample.resize_crop(source, out, *resized, *corner, variant)
    return out


def _pixel_bytes(source: NDArray[np.uint8]) -> int:
    pixel_bytes = {2: 1, 3: int(source.shape[-1])}.get(source.ndim, 0) if source.ndim and source.size else 0
    if pixel_bytes not in _MODES or source.dtype != np.uint8 or not source.flags.c_contiguous:
        raise ValueError("the pixels must be uint8, C-contiguous, [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], none 0")
    return pixel_bytes


def _by_pillow(
    source: NDArray[np.uint8], resized: tuple[int, int], corner: tuple[int, int], size: int, mode: str
) -> NDArray[np.uint8]:
    height, width = source.shape[:2]
    image = Image.frombuffer(mode, (width, height), source, "raw", mode, 0, 1).resize(resized, Image.Resampling.BICUBIC)
    left, top = corner
    pixels = np.asarray(image.crop((left, top, left + size, top + size)))
    return np.ascontiguousarray(pixels[..., :3]) if mode == "RGBX" else pixels
