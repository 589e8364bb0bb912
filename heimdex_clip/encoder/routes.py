"""The ways that this machine has from a picture's bytes to its pixels. All give the same; they differ in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import PIL

from heimdex_clip.encoder import jpeg, resample
from heimdex_clip.encoder.buffers import Buffers

_MAX_IDLE_BYTES = 128 << 20  # three pictures of 12 megapixels


@dataclass(frozen=True, slots=True)
class Route:
    """Which of `resample.variants()` resizes RGB and grey, and whether it decodes the common JPEGs in one with that.

    With the variant "pillow", Pillow alone does everything. `lacking` says why a faster route is not taken.
    """

    variant: str = resample.PILLOW
    rows: bool = False
    lacking: tuple[str, ...] = ()
    buffers: Buffers = field(default_factory=lambda: Buffers(_MAX_IDLE_BYTES), repr=False, compare=False)

    @property
    def decoder(self) -> str:
        """What decodes the common JPEGs, with its version."""
        return f"libjpeg-turbo {jpeg.version()}, by rows" if self.rows else f"Pillow {PIL.__version__}"

    @property
    def resampler(self) -> str:
        """What resizes RGB and grey."""
        return f"extension, {self.variant}" if self.variant != resample.PILLOW else f"Pillow {PIL.__version__}"


PILLOW = Route()
"""Pillow alone: what all others must equal."""


@cache
def fastest() -> Route:
    """The fastest route of this machine, looked up once."""
    variant = resample.variant()
    lacking = jpeg.lacking()
    return Route(variant, not lacking, (lacking,) if lacking else ())
