"""Damaged image files in great number, decoded in child processes, so that a crash of a decoder is counted.

``python -m tests.hostile.mutations COUNT [SEED]`` prints how each ended. A file depends on its seed and its number
alone, so what a crash is blamed on can be made again.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from heimdex_clip.encoder import jpeg, resample
from heimdex_clip.encoder.preprocess import preprocess
from heimdex_clip.errors import ClipError

MAX_PIXELS = 2_000_000
SIZE = 16
CHUNK = 10_000
"""Files that one process decodes."""
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def originals() -> list[bytes]:
    """Whole files of every accepted format, in the modes and forms that decoders treat apart."""
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 4), np.uint8)
    colour = Image.fromarray(noise, "RGBA").resize((53, 37))
    frames = [colour.rotate(90 * turn) for turn in range(3)]
    forms: list[tuple[str, str, dict[str, object]]] = [
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True, "quality": 30}),
        ("JPEG", "RGB", {"subsampling": 0, "optimize": True}),
        ("JPEG", "RGB", {"restart_marker_blocks": 2}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("MPO", "RGB", {"save_all": True, "append_images": [frames[1].convert("RGB")]}),
        *(("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGBA", {"quality": 20}),
        ("WEBP", "RGBA", {"save_all": True, "append_images": frames[1:]}),
        ("GIF", "P", {}),
        ("GIF", "L", {"interlace": 1}),
        ("GIF", "P", {"save_all": True, "append_images": [frame.convert("P") for frame in frames[1:]]}),
    ]
    return [_saved(colour, form, mode, options) for form, mode, options in forms]


def _saved(colour: Image.Image, form: str, mode: str, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(np.zeros((37, 53), np.uint16)) if mode == "I;16" else colour.convert(mode)
    image.save(file, form, **options)
    return file.getvalue()


def mutant(files: list[bytes], seed: int, number: int) -> bytes:
    """One damaged file: a few changes of bytes, numbers, places or length; a PNG's checksums mostly mended."""
    chance = random.Random(f"{seed}/{number}")
    data = bytearray(chance.choice(files))
    for _ in range(chance.choice((1, 1, 2, 3, 8, 40))):
        _change(data, chance, files)
    if data[:8] == b"\x89PNG\r\n\x1a\n" and chance.random() < 0.8:
        _mend_checksums(data)
    return bytes(data)


def _change(data: bytearray, chance: random.Random, files: list[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    match chance.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 1 if at < len(data):
            data[at] = chance.randrange(256)
        case 2:
            width = chance.choice((2, 4))
            number = chance.choice(_NUMBERS) & ((1 << 8 * width) - 1)
            data[at : at + width] = number.to_bytes(width, chance.choice(("big", "little")))
        case 3:
            del data[at : at + chance.randrange(1, 64)]
        case 4:
            data[at:at] = data[at : at + chance.randrange(1, 64)]
        case 5:
            other = chance.choice(files)
            start = chance.randrange(len(other))
            data[at : at + 64] = other[start : start + chance.randrange(1, 64)]
        case 6 if chance.random() < 0.2:
            del data[at:]


def _mend_checksums(data: bytearray) -> None:
    """Without this a decoder sees the checksum's fault and none of the others."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4


def outcome(data: bytes) -> str:
    """The code that a file ends with in the worker's decoding, "OK" for pixels."""
    try:
        preprocess(data, size=SIZE, max_pixels=MAX_PIXELS)
    except ClipError as error:
        return error.code
    return "OK"


def _jpeg_alone(data: bytes) -> None:
    """Every JPEG through the extension too, whatever the worker itself would choose for it, and whatever it says."""
    with contextlib.suppress(Exception), Image.open(io.BytesIO(data)) as image:
        frame = jpeg.Frame(*image.size, 1 if image.mode == "L" else 3, working_bytes=0)
        if image.width * image.height <= MAX_PIXELS:
            jpeg.resize_crop(data, frame, image.size, (0, 0), min(image.size), variant=resample.variant())


def _decode(seed: int, first: int, last: int, progress: Path) -> None:
    files, counts = originals(), Counter[str]()
    with progress.open("r+b", buffering=0) as file:
        for number in range(first, last):
            file.seek(0)
            file.write(number.to_bytes(8, "big"))
            data = mutant(files, seed, number)
            counts[outcome(data)] += 1
            if data[:2] == b"\xff\xd8":
                counts["quick JPEG"] += 1
                _jpeg_alone(data)
    print(json.dumps(counts))


def run(count: int, seed: int = 0) -> tuple[Counter[str], list[int]]:
    """Decode `count` files: how many ended with each code, and the numbers of those that ended their process.

    "quick JPEG" counts those that also went through the extension's decoder.
    """
    counts, crashes, first = Counter[str](), list[int](), 0
    with tempfile.NamedTemporaryFile() as shared:
        while first < count:
            last = min(first + CHUNK, count)
            command = [sys.executable, "-m", __spec__.name, "decode", *map(str, (seed, first, last)), shared.name]
            shared.seek(0)
            shared.write(bytes(8))
            shared.flush()
            done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
            if done.returncode > 0:
                raise RuntimeError(done.stderr)
            if done.returncode < 0:
                # What its process had counted is lost with it.
                crash = int.from_bytes(Path(shared.name).read_bytes(), "big")
                crashes.append(crash)
                last = crash + 1
            else:
                counts += Counter(json.loads(done.stdout))
            first = last
    return counts, crashes


def main(argv: list[str]) -> None:
    """See the module."""
    if argv[0] == "decode":
        seed, first, last = map(int, argv[1:4])
        _decode(seed, first, last, Path(argv[4]))
        return
    counts, crashes = run(*map(int, argv[:2]))
    print(json.dumps({"ended": counts, "crashes": crashes}))


if __name__ == "__main__":
    main(sys.argv[1:])
