"""JPEGs straight to their resized square, for the common kinds, where its pixels are Pillow's.

The library that decodes is the very one that Pillow calls. But Pillow hands it the file piece by piece and keeps the
whole picture; the extension hands it the whole file, and keeps some rows at a time, of the columns that the square
needs. What a file is, its header says. A file of any other kind, and one that the library as much as warns of, is left
to Pillow, whose verdict is the one that counts. docs/adr/0008-jpeg-rows.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, _imaging

try:
    from heimdex_clip.encoder import _resample
except ImportError:  # built only where there is a compiler
    _resample = None  # type: ignore[assignment]  # a module has no type to unite with None

# Markers of ITU T.81, table B.1.
_SOI, _SOS = 0xD8, 0xDA
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_FRAMES = (_BASELINE, _EXTENDED, _PROGRESSIVE)  # those with Huffman coding and a DCT
_HUFFMAN_TABLES, _QUANTISATION, _RESTART_INTERVAL, _COMMENT = 0xC4, 0xDB, 0xDD, 0xFE
_BESIDE = (_HUFFMAN_TABLES, _QUANTISATION, _RESTART_INTERVAL, _COMMENT, *range(0xE0, 0xF0))
_MAX_SEGMENTS = 1024  # a photograph has some dozens; nobody's header is worth reading a million in Python

_BLOCK = 8  # samples a side
_COEFFICIENT_BYTES = 2
_BETWEEN_BYTES = 4  # colour, and the coefficients of the rows
_ROWS_AT_ONCE = 64  # the extension's, and the library's around them
_CHANNELS = (1, 3)  # grey, YCbCr

FORMATS = ("JPEG", "MPO")
"""Pillow's names of what may be one."""
Sampling = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Frame:
    """What a header says of a picture that `resize_crop` takes: size, and 1 (grey) or 3 (YCbCr) channels.

    `working_bytes` is what the library itself holds while it decodes: all coefficients where the picture comes
    in several scans, next to nothing otherwise.
    """

    width: int
    height: int
    channels: int
    working_bytes: int


def read_frame(data: bytes) -> Frame | None:
    """The frame of an 8-bit, Huffman-coded DCT picture of 1 or 3 components; None for everything else.

    Anything unusual before the first scan gives None too: bytes between segments, a segment that is cut short or
    has no place there, and a second frame.
    """
    found: tuple[int, bytes] | None = None
    for marker, body in _segments(data):
        if marker == _SOS:
            return _frame(*found, scan=body) if found else None
        if marker in _FRAMES and found is None:
            found = marker, body
        elif marker not in _BESIDE:
            return None
    return None


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment, for as long as they follow upon each other without a flaw."""
    if data[:2] != bytes((0xFF, _SOI)):
        return
    position = 2
    for _ in range(_MAX_SEGMENTS):
        head = data[position : position + 4]
        end = position + 2 + int.from_bytes(head[2:], "big")
        if len(head) < 4 or head[0] != 0xFF or not position + 4 <= end <= len(data):
            return
        yield head[1], data[position + 4 : end]
        position = end


def _frame(marker: int, body: bytes, *, scan: bytes) -> Frame | None:
    """The frame header's content, with the first scan's (T.81, B.2.2 and B.2.3)."""
    if len(body) < 6 or not scan:
        return None
    precision, height, width, channels = body[0], *(int.from_bytes(body[at : at + 2], "big") for at in (1, 3)), body[5]
    if precision != 8 or not (width and height) or channels not in _CHANNELS or len(body) != 6 + 3 * channels:
        return None
    sampling = [divmod(factors, 16) for factors in body[7::3]]
    if not _regular(sampling):
        return None
    several_scans = marker == _PROGRESSIVE or scan[0] != channels
    working_bytes = _coefficient_bytes(width, height, sampling) if several_scans else 0
    return Frame(width, height, channels, working_bytes)


def _coefficient_bytes(width: int, height: int, sampling: Sampling) -> int:
    """All coefficients of a picture of components with these (horizontal, vertical) sampling factors."""
    across, down = max(h for h, _ in sampling), max(v for _, v in sampling)
    units = -(-width // (_BLOCK * across)) * -(-height // (_BLOCK * down))
    return units * sum(h * v for h, v in sampling) * _BLOCK * _BLOCK * _COEFFICIENT_BYTES


def lacking() -> str:
    """Why `resize_crop` takes nothing here; empty where it works."""
    return "" if isinstance(found := _library(), _Library) else found


def version() -> str:
    """Of the libjpeg-turbo that Pillow calls."""
    return str(_imaging.libjpeg_turbo_version)


def resize_crop(
    data: bytes, frame: Frame, resized: tuple[int, int], corner: tuple[int, int], size: int, *, variant: str
) -> NDArray[np.uint8] | None:
    """What `resample.resize_crop` makes of the decoded picture: uint8 ``[size, size]`` or ``[size, size, 3]``.

    None when the file is not what its `frame` says, or anything is amiss with it. The GIL is released meanwhile.
    Raises ValueError like its namesake, and where something is `lacking`; MemoryError.
    """
    if not isinstance(found := _library(), _Library):
        raise ValueError(found)
    out = np.empty((size, size) if frame.channels == 1 else (size, size, 3), np.uint8)
    place = (*resized, *corner)
    done = _resample.jpeg_resize_crop(found.handle, data, frame.width, frame.height, out, *place, variant)
    return out if done else None


@dataclass(frozen=True, slots=True)
class _Library:
    """The functions of Pillow's libjpeg, for the extension."""

    handle: object


@cache
def _library() -> _Library | str:
    """Looked up once; why there is none otherwise."""
    if _resample is None:
        return "the resampling extension is not built"
    try:
        return _Library(_resample.libjpeg(str(_imaging.__file__)))
    except OSError as error:
        return f"Pillow's libjpeg cannot be called ({error})"


def rows_bytes(frame: Frame, size: int) -> int:
    """What `resize_crop` holds besides `Frame.working_bytes`: rows between the passes, some rows of the picture.

    Where y comes first, all of them.
    """
    rows = frame.height if frame.height > 2 * frame.width else min(frame.height, _ROWS_AT_ONCE)
    return frame.height * size * _BETWEEN_BYTES + rows * frame.width * frame.channels


def working_bytes(image: Image.Image, data: bytes) -> int:
    """What libjpeg-turbo holds itself while Pillow decodes this picture; 0 for other formats."""
    if image.format not in FORMATS:
        return 0
    if (frame := read_frame(data)) is not None:
        return frame.working_bytes
    # A header that was not understood: as if it came in several scans.
    sampling = [(across, down) for _, across, down, _ in getattr(image, "layer", ())]
    return _coefficient_bytes(*image.size, sampling) if _regular(sampling) else 0


def _regular(sampling: Sampling) -> bool:
    return bool(sampling) and all(1 <= factor <= 4 for pair in sampling for factor in pair)
