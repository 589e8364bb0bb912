"""Many of the largest pictures through the worker's decoder at once, in a process of their own, and the memory it took.

``python -m tests.hostile.decode_memory FOLDER JOBS`` decodes the folder's files in turn, JOBS in all, and prints the
process's peak of resident bytes and how the jobs ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from PIL import Image

from heimdex_clip.errors import ClipError
from worker.settings import MIB, Settings
from worker.stages import Decoder

SIDE = 7071
"""Of a square of nearly 50 million pixels, the most that the worker accepts."""
_KINDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "flat.png": ("PNG", "RGB", {"compress_level": 1}),
    "alpha.png": ("PNG", "RGBA", {"compress_level": 1}),
    "palette.png": ("PNG", "P", {"compress_level": 1}),
    "first.gif": ("GIF", "P", {}),
    "baseline.jpg": ("JPEG", "RGB", {"quality": 10}),
    "progressive.jpg": ("JPEG", "RGB", {"quality": 10, "progressive": True, "subsampling": 0}),
    "cmyk.jpg": ("JPEG", "CMYK", {"quality": 10}),
    "alpha.webp": ("WEBP", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
}


def write(folder: Path, *names: str) -> None:
    """Files of a few kilobytes to a few hundred, of `names` among the kinds; all where none is named."""
    for name in names or _KINDS:
        form, mode, options = _KINDS[name]
        Image.new(mode, (SIDE, SIDE)).save(folder / name, form, **options)


async def decode(files: list[bytes], jobs: int) -> Counter[str]:
    """How the jobs ended, by code."""
    settings = Settings()
    decoder = Decoder(size=224, max_pixels=settings.max_image_pixels, max_bytes=settings.max_inflight_bytes // 2)

    async def one(number: int) -> str:
        try:
            await decoder(files[number % len(files)])
        except ClipError as error:
            return error.code
        return "OK"

    try:
        return Counter(await asyncio.gather(*(one(number) for number in range(jobs))))
    finally:
        decoder.close()


def peak_bytes() -> int:
    """The most that was resident at once, of this process, since it began."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    pictures = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]
    ended = asyncio.run(decode(pictures, int(sys.argv[2])))
    print(json.dumps({"ended": ended, "peak_mib": peak_bytes() // MIB}))
