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
    """Which of `resample.variants()` resizes RGB and grey, and whether libjpeg-turbo decodes the common JPEGs.

    With the variant "pillow", Pillow alone does everything. `lacking` says why a faster route is not taken.
    """

    variant: str = resample.PILLOW
    turbo: bool = False
    lacking: tuple[str, ...] = ()
    buffers: Buffers = field(default_factory=lambda: Buffers(_MAX_IDLE_BYTES), repr=False, compare=False)

    @property
    def decoder(self) -> str:
        """What decodes the common JPEGs, with its version."""
        return f"simplejpeg {jpeg.turbo_version()}" if self.turbo else f"Pillow {PIL.__version__}"

    @property
    def resampler(self) -> str:
        """What resizes RGB and grey."""
        return f"extension, {self.variant}" if self.variant != resample.PILLOW else f"Pillow {PIL.__version__}"


PILLOW = Route()
"""Pillow alone: what all others must equal."""


@cache
def fastest() -> Route:
    """The fastest route of this machine, looked up once."""
    variant, turbo, lacking = resample.variant(), bool(jpeg.turbo_version()), []
    if variant == resample.PILLOW:
        lacking.append("the resampling extension is not built")
    if not turbo:
        lacking.append("simplejpeg is not installed")
    return Route(variant, turbo and variant != resample.PILLOW, tuple(lacking))
