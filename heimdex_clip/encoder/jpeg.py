"""JPEGs by libjpeg-turbo alone, for the common kinds, where its pixels are Pillow's.

Pillow decodes with the same library, but hands it the file piece by piece and stores colour in four bytes. Here it
gets the whole file at once and writes three bytes a pixel, into the array that the resampler reads. What a file is,
its header says. A file of any other kind, and one that the library as much as warns of, is left to Pillow, whose
verdict is the one that counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

# Markers of ITU T.81, table B.1.
_SOI, _SOS = 0xD8, 0xDA
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_FRAMES = (_BASELINE, _EXTENDED, _PROGRESSIVE)  # those with Huffman coding and a DCT
_HUFFMAN_TABLES, _QUANTISATION, _RESTART_INTERVAL, _COMMENT = 0xC4, 0xDB, 0xDD, 0xFE
_BESIDE = (_HUFFMAN_TABLES, _QUANTISATION, _RESTART_INTERVAL, _COMMENT, *range(0xE0, 0xF0))
_FILL, _END = 0xFF, b"\xff\xd9"
_MAX_SEGMENTS = 1024  # a photograph has some dozens; nobody's header is worth reading a million in Python

_BLOCK = 8  # samples a side
_COEFFICIENT_BYTES = 2
_COLOURS = {1: "Gray", 3: "YCbCr"}
_TARGETS = {1: "GRAY", 3: "RGB"}
_REFUSALS = (ValueError, RuntimeError, KeyError)  # what simplejpeg raises for a file or its features

FORMATS = ("JPEG", "MPO")
"""Pillow's names of what may be one."""
Sampling = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Frame:
    """What a header says of a picture that `decode` takes: size, and 1 (grey) or 3 (YCbCr) channels.

    `working_bytes` is what the library itself holds while it decodes: all coefficients where the picture comes
    in several scans, next to nothing otherwise.
    """

    width: int
    height: int
    channels: int
    working_bytes: int


def read_frame(data: bytes) -> Frame | None:
    """The frame of an 8-bit, Huffman-coded DCT picture of 1 or 3 components; None for everything else.

    Anything unusual gives None too: before the first scan bytes between segments, a segment that is cut short or
    has no place there, and a second frame; from there on a fill byte.
    """
    found: tuple[int, bytes] | None = None
    for marker, body, end in _segments(data):
        if marker == _SOS:
            frame = _frame(*found, scan=body) if found else None
            return None if frame is None or _has_fill_bytes(data, end, frame) else frame
        if marker in _FRAMES and found is None:
            found = marker, body
        elif marker not in _BESIDE:
            return None
    return None


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, content and end of each segment, for as long as they follow upon each other without a flaw."""
    if data[:2] != bytes((0xFF, _SOI)):
        return
    position = 2
    for _ in range(_MAX_SEGMENTS):
        head = data[position : position + 4]
        end = position + 2 + int.from_bytes(head[2:], "big")
        if len(head) < 4 or head[0] != 0xFF or not position + 4 <= end <= len(data):
            return
        yield head[1], data[position + 4 : end], end
        position = end


def _has_fill_bytes(data: bytes, scan_at: int, frame: Frame) -> bool:
    """Whether two 0xFF stand side by side in the scans, which no encoder writes there.

    Then the library's result depends on where the pieces end that it is given: Pillow's are 64 KiB.
    """
    rest = np.frombuffer(data, np.uint8, offset=scan_at)
    if int((rest[:-1] & rest[1:]).max(initial=0)) < _FILL:  # bytes.find takes ten times as long
        return False
    # Of one scan the first such marker is the end, and what cameras append to a file does not matter.
    end = -1 if frame.working_bytes else data.find(_END, scan_at)
    return data.find(bytes((_FILL, _FILL)), scan_at, len(data) if end < 0 else end + 1) >= 0


def _frame(marker: int, body: bytes, *, scan: bytes) -> Frame | None:
    """The frame header's content, with the first scan's (T.81, B.2.2 and B.2.3)."""
    if len(body) < 6 or not scan:
        return None
    precision, height, width, channels = body[0], *(int.from_bytes(body[at : at + 2], "big") for at in (1, 3)), body[5]
    if precision != 8 or not (width and height) or channels not in _COLOURS or len(body) != 6 + 3 * channels:
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


def turbo_version() -> str:
    """Version of the binding to libjpeg-turbo; empty where it is not installed."""
    return str(simplejpeg.__version__) if simplejpeg is not None else ""


def turbo_frame(data: bytes) -> Frame | None:
    """The frame of a picture that `decode` takes; None where Pillow has to read it."""
    frame = read_frame(data)
    if frame is None:
        return None
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
    except _REFUSALS:
        return None
    # Whether three components are YCbCr or RGB is the library's own decision, by several signs.
    agreed = (width, height, colour) == (frame.width, frame.height, _COLOURS[frame.channels])
    return frame if agreed else None


def decode(data: bytes, pixels: NDArray[np.uint8]) -> bool:
    """Decode a picture of which `turbo_frame` gave the frame into uint8 ``[H, W, C]``, C-contiguous.

    False when anything is amiss with the file; `pixels` then hold whatever was decoded. Releases the GIL.
    """
    try:
        simplejpeg.decode_jpeg(data, _TARGETS[pixels.shape[2]], buffer=pixels, strict=True)
    except _REFUSALS:
        return False
    return True


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
