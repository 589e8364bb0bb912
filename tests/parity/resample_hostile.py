"""``python -m tests.parity.resample_hostile``: calls that no caller should make, at the extension's own entries.

Each must end with pixels, a refused file, ValueError, TypeError or MemoryError. Under a sanitizer a wrong access
ends the process.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import _imaging

from heimdex_clip.encoder import _resample, jpeg
from tests.parity import jpeg_cases

_FILES = 300
_JPEG_EVERY = 5
_FINE = (ValueError, TypeError, MemoryError)
_NUMBERS = (-(2**70), -(2**63), -(2**31), -1, 0, 1, 2, 7, 8, 223, 2**24, 2**31 - 1, 2**31, 2**63 - 1, 2**64)
_TYPES = (np.uint8, np.uint8, np.uint8, np.uint8, np.int8, np.bool_, np.uint16, np.float32)
_SIDES = (0, 1, 1, 2, 3, 4, 5, 7, 15, 16, 17, 63, 64, 65)


def main(argv: list[str] | None = None) -> int:
    """Make the calls and print how they ended."""
    parser = argparse.ArgumentParser(prog="resample_hostile", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    print(f"{_resample.__file__}: {given.calls:,} calls ended with {dict(calls(given.seed, given.calls))}")
    return 0


def calls(seed: int, count: int) -> Counter[str]:
    """How `count` hostile calls of either entry ended, by name. Anything but the endings above is raised."""
    random = np.random.default_rng(seed)
    endings: Counter[str] = Counter()
    files = [jpeg_cases.case(seed, number).data for number in range(_FILES)]
    library = _resample.libjpeg(str(_imaging.__file__))
    for number in range(count):
        arguments = _arguments(random)
        endings[_ending(_resample.resize_crop, arguments)] += 1
        if number % _JPEG_EVERY == 0:
            endings["JPEG: " + _ending(_resample.jpeg_resize_crop, _of_a_jpeg(random, arguments, files, library))] += 1
    return endings


def _ending(entry: Callable[..., object], arguments: Sequence[Any]) -> str:
    try:
        return "refused" if entry(*arguments) is False else "pixels"
    except _FINE as error:
        return type(error).__name__


def _of_a_jpeg(random: np.random.Generator, arguments: list[Any], files: list[bytes], library: object) -> list[Any]:
    """The same with a file, sound or spoilt, in the place of the picture, and a size that may be another's."""
    data = files[int(random.integers(len(files)))]
    frame = jpeg.read_frame(data) if random.random() < 0.9 else None
    sides: list[Any] = [frame.width, frame.height] if frame else [int(random.integers(0, 70)) for _ in range(2)]
    fronts: list[Any] = [library, data, *sides]
    if random.random() < 0.1:
        fronts[int(random.integers(4))] = random.choice(np.array([*_NUMBERS, None, "text", b"", object()], object))
    return [*fronts, *arguments[1:]]


def _arguments(random: np.random.Generator) -> list[Any]:
    """Good ones in which each may have been replaced by something hostile."""
    size = int(random.choice([1, 2, 5, 8, 16, 33]))
    depth = int(random.choice([1, 3, 4]))
    source = np.zeros((int(random.integers(1, 70)), int(random.integers(1, 70)), depth), np.uint8)
    out = np.zeros((size, size, 1 if depth == 1 else 3), np.uint8)
    resized = [size + int(random.integers(0, 60)) for _ in range(2)]
    corner = [int(random.integers(0, side - size + 1)) for side in resized]
    arguments: list[Any] = [source, out, *resized, *corner, str(random.choice(_resample.variants()))]
    if random.random() < 0.1:  # good arrays that do not belong together
        shape = [size + int(random.integers(0, 2)), size + int(random.integers(0, 2)), int(random.choice([1, 2, 3, 4]))]
        arguments[int(random.integers(0, 2))] = np.zeros(shape, np.uint8)
    for place in range(len(arguments)):
        if random.random() < 0.08:  # of seven: about half of the calls stay good
            arguments[place] = _hostile(random, place)
    if random.random() < 0.01:
        return arguments[: int(random.integers(0, len(arguments)))]
    return arguments


def _hostile(random: np.random.Generator, place: int) -> Any:
    if place < 2:
        return _array(random)
    if place < 6:
        return random.choice(np.array([*_NUMBERS, None, 1.5, "3"], object))
    return random.choice(np.array(["", "avx", "pillow", "c\0", "\ud800", "c" * 1000, None, b"c"], object))


def _array(random: np.random.Generator) -> Any:
    shape = tuple(int(side) for side in random.choice(_SIDES, int(random.integers(0, 5))))
    array: Any = np.zeros(shape, _TYPES[int(random.integers(len(_TYPES)))])
    match int(random.integers(0, 9)):
        case 0:
            array = array[..., ::-1] if array.ndim else array
        case 1:
            array = array[::2] if array.ndim else array
        case 2:
            array = array.T
        case 3:
            array.flags.writeable = False
        case 4:
            array = np.broadcast_to(np.uint8(1), (int(random.choice([1, 9, 2**24 + 1, 2**40])), 3, 3))
        case 5:
            array = random.choice(np.array([None, 7, "text", b"bytes", bytearray(9), [[1]], object()], object))
    return array


if __name__ == "__main__":
    raise SystemExit(main())
