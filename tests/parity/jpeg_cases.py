"""Generated JPEGs, sound and spoilt, and whether both ways agree on them: case N is the same on every machine."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from heimdex_clip.encoder import jpeg
from heimdex_clip.encoder.preprocess import preprocess
from heimdex_clip.encoder.routes import PILLOW, fastest
from heimdex_clip.errors import ClipError
from tests import jpegfiles
from tests.jpegfiles import JFIF, Spec, adobe

_SOS = b"\xff\xda"
_FRAMES = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2")
_SAMPLINGS: tuple[jpegfiles.Sampling, ...] = (
    ((1, 1),),
    ((2, 2),),
    ((1, 1), (1, 1), (1, 1)),
    ((2, 1), (1, 1), (1, 1)),
    ((1, 2), (1, 1), (1, 1)),
    ((2, 2), (1, 1), (1, 1)),
    ((4, 1), (1, 1), (1, 1)),
    ((1, 4), (1, 1), (1, 1)),
    ((4, 2), (1, 1), (1, 1)),
    ((2, 2), (2, 1), (2, 1)),
    ((2, 2), (1, 2), (1, 2)),
    ((2, 1), (1, 2), (1, 1)),
    ((2, 2), (2, 1), (1, 2)),
    ((1, 1), (2, 2), (1, 1)),
    ((3, 1), (1, 1), (1, 1)),
    ((3, 2), (2, 1), (1, 1)),
)
_COLOUR_SIGNS: tuple[tuple[tuple[int, bytes], ...], ...] = (
    ((0xE0, JFIF),),
    (),
    ((0xEE, adobe(1)),),
    ((0xEE, adobe(0)),),
    ((0xE0, JFIF), (0xEE, adobe(0))),
)
_PIECE = 65536  # Pillow hands the library so many bytes at once
_SIZE, _MAX_PIXELS = 16, 4_000_000


@dataclass(frozen=True, slots=True)
class Case:
    """A file, what it is, and whether it was spoilt after it was written."""

    kind: str
    data: bytes
    spoilt: bool


def case(seed: int, index: int) -> Case:
    """The case of that number; two in three are spoilt."""
    chance = random.Random(f"{seed}/{index}")
    kind = chance.choices(("written", "encoded", "large"), (10, 10, 0.3))[0]
    data = _written(chance) if kind == "written" else _encoded(chance, large=kind == "large")
    spoilt = chance.random() < 2 / 3
    return Case(kind, _spoilt(data, chance) if spoilt else data, spoilt)


def verdict(data: bytes) -> str:
    """Who decodes this file, and what comes of it."""
    if squares(data) is not None:
        return "decoded by rows"
    return "left to Pillow, which " + ("refuses it" if _pillow(data) is None else "takes it")


def disagreement(data: bytes) -> str:
    """How the fastest route differs from Pillow on this file; empty when it does not."""
    fast, wanted = squares(data), _pillow(data)
    if fast is not None:
        if wanted is None:
            return "the extension takes what Pillow refuses"
        for (left, top), square in fast.items():
            there = wanted[top : top + len(square), left : left + len(square)]
            if not np.array_equal(square.reshape(there.shape), there):
                return f"pixels differ ({len(square)} x {len(square)} from {left}, {top} on)"
    one, other = _outcome(data, fast=True), _outcome(data, fast=False)
    return "" if one == other else f"{one[:60]!r} and {other[:60]!r}"


def squares(data: bytes) -> dict[tuple[int, int], NDArray[np.uint8]] | None:
    """Corner (left, top) -> the pixels from there on, of squares all over the picture; None where it is Pillow's.

    Resized to its own size a picture keeps every pixel, so that these are the decoder's own.
    """
    frame = jpeg.read_frame(data)
    if frame is None or frame.width * frame.height > _MAX_PIXELS:
        return None
    sides = frame.width, frame.height
    size = -(-min(sides) // 3)
    found: dict[tuple[int, int], NDArray[np.uint8]] = {}
    for left, top in itertools.product(*({0, (side - size) // 2, side - size} for side in sides)):
        square = jpeg.resize_crop(data, frame, sides, (left, top), size, variant=fastest().variant)
        if square is None:
            return None
        found[left, top] = square
    return found


def _outcome(data: bytes, *, fast: bool) -> bytes:
    try:
        route = fastest() if fast else PILLOW
        return preprocess(data, size=_SIZE, max_pixels=_MAX_PIXELS, route=route).tobytes()
    except ClipError as error:
        return f"{error.code} {error.message}".encode()


def _pillow(data: bytes) -> NDArray[np.uint8] | None:
    """``[H, W, C]``; None where it refuses. It raises whatever a spoilt file leads it to."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.width * image.height > _MAX_PIXELS:
                return None
            image.load()
            pixels = np.asarray(image)
    except Exception:  # noqa: BLE001
        return None
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _written(chance: random.Random) -> bytes:
    """What no ordinary encoder writes."""
    progressive = chance.random() < 0.4
    spec = Spec(
        width=chance.randint(1, chance.choice((70, 70, 200))),
        height=chance.randint(1, chance.choice((70, 70, 200))),
        sampling=chance.choice(_SAMPLINGS),
        progressive=progressive,
        extended=not progressive and chance.random() < 0.3,
        interleaved=chance.random() < 0.7,
        restart=chance.choice((0, 0, 1, 3, 17)),
        ids=chance.choice((b"\1\2\3", b"\1\2\3", b"RGB", b"\0\1\2", b"\7\1\5")),
        segments=chance.choice(_COLOUR_SIGNS),
        seed=chance.randrange(1 << 30),
        loud=chance.random() < 0.6,
    )
    return jpegfiles.write(spec)


def _encoded(chance: random.Random, *, large: bool) -> bytes:
    """What Pillow writes; large files reach over several of the pieces that it reads in."""
    low, high = (9.0, 10.5) if large else (0.0, 8.0)
    width, height = (int(2 ** chance.uniform(low, high)) for _ in range(2))
    values = np.random.default_rng(chance.randrange(1 << 30))
    noise = chance.random() < 0.4
    if noise:
        pixels = values.integers(0, 256, (height, width, 3))
    else:
        pixels = np.cumsum(values.integers(-9, 10, (height, width, 3)), axis=1) + 128
    mode = chance.choices(("RGB", "L", "CMYK"), (15, 4, 1))[0]
    options: dict[str, object] = {
        "quality": chance.choice((1, 20, 75) if noise else (1, 20, 75, 90, 95)),
        "progressive": chance.random() < 0.5 and not (noise and width * height > _PIECE // 4),
        "restart_marker_blocks": chance.choice((0, 0, 0, 1, 3, 20)),
    }
    if mode == "RGB":
        options |= {"keep_rgb": True} if chance.random() < 0.05 else {"subsampling": chance.randrange(3)}
    if chance.random() < 0.2:
        options["comment"] = bytes(chance.randrange(65000))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)
    try:
        return _saved(image, options)
    except OSError:  # its buffer for progressive files is too small for noise
        return _saved(image, options | {"progressive": False})


def _saved(image: Image.Image, options: Mapping[str, object]) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def _spoilt(data: bytes, chance: random.Random) -> bytes:
    """Bytes changed, cut, added or taken out, in the header, the scans, or where Pillow's pieces meet."""
    spoilt, scan = bytearray(data), data.find(_SOS)
    where = chance.choice(("anywhere", "header", "scans", "frame", "seam"))
    first, last = {"header": (2, scan + 12), "scans": (scan, len(data))}.get(where, (2, len(data)))
    if where == "frame":
        first = max(data.find(marker, 0, scan) for marker in _FRAMES)
        last = first + 19
    elif where == "seam" and len(data) > _PIECE:
        seam = _PIECE * chance.randint(1, len(data) // _PIECE)
        first, last = seam - 12, min(seam + 12, len(data))
    place = chance.randrange(first, min(last, len(data)))
    match chance.randrange(7):
        case 0:
            spoilt[place] = chance.choice((0, 1, 2, 3, 0x11, 0x12, 0x21, 0x22, 0x41, 0xFF, chance.randrange(256)))
        case 1:
            spoilt[place] ^= 1 << chance.randrange(8)
        case 2:
            for _ in range(chance.randint(2, 5)):
                spoilt[chance.randrange(first, min(last, len(data)))] = chance.randrange(256)
        case 3:
            del spoilt[chance.choice((place, len(data) - chance.randint(1, 12))) :]
        case 4:
            spoilt[place:place] = chance.randbytes(chance.randint(1, 40))
        case 5:
            del spoilt[place : place + chance.randint(1, 40)]
        case _:
            marker = chance.choice((0x00, 0x01, 0xC0, 0xC4, 0xD0, 0xD7, 0xD8, 0xD9, 0xDA, 0xDC, 0xFE))
            spoilt[place:place] = bytes((0xFF, marker))
    if chance.random() < 0.1:
        spoilt += chance.randbytes(chance.randint(1, 2000))
    return bytes(spoilt)
