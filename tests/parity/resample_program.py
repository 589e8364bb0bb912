"""The resampler as a program without Python: built by any compiler, run by an emulator or under a sanitizer."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.parity import resample_cases
from tests.parity.resample_cases import Case

_MAIN = Path(__file__).with_suffix(".c")
_SOURCES = Path(__file__).parents[2] / "heimdex_clip" / "encoder" / "csrc"
_NOT_ALONE = re.compile("module|edge.*|.*jpeg")  # these need Python, or a JPEG library
_FLAGS = ("-std=c11", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror")


def build(program: Path, compiler: str, flags: Iterable[str]) -> Path:
    """Compile it to the file `program`. Raises CalledProcessError; the compiler has said why."""
    sources = [path for path in sorted(_SOURCES.glob("*.c")) if not _NOT_ALONE.fullmatch(path.stem)]
    command = [compiler, *_FLAGS, *flags, f"-I{_SOURCES}", "-o", str(program), str(_MAIN), *map(str, sources), "-lm"]
    subprocess.run(command, check=True)
    return program


def differing(command: list[str], cases: list[Case]) -> int:
    """How many of the cases `command`, which ends with the variant's name, answers with other bytes than Pillow's."""
    stream = b"".join(_encoded(case) for case in cases)
    output = subprocess.run(command, input=stream, check=True, stdout=subprocess.PIPE).stdout
    wrong = at = 0
    for case in cases:
        square = resample_cases.reference(case).tobytes()
        wrong += output[at : at + len(square)] != square
        at += len(square)
    return wrong + (at != len(output))


def _encoded(case: Case) -> bytes:
    geometry = case.geometry
    numbers = (*geometry.source, case.pixels[0, 0].size, *geometry.resized, *geometry.corner, geometry.size)
    head: NDArray[np.int32] = np.array(numbers, np.int32)
    return head.tobytes() + case.pixels.tobytes()
