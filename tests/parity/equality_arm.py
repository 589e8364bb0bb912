"""``python -m tests.parity.equality_arm``: the NEON and plain C variants, built for 64-bit Arm, against Pillow here.

Needs a cross compiler and an emulator (Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user). Exit status
1 when a byte differs, 2 when they are missing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.parity import resample_cases, resample_program

_COMPILER, _EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
_VARIANTS = ("neon", "c")
_BATCH = 100


def main(argv: list[str] | None = None) -> int:
    """Build, run, print the verdict, and return the exit status."""
    parser = argparse.ArgumentParser(prog="equality_arm", description=__doc__)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    missing = [tool for tool in (_COMPILER, _EMULATOR) if shutil.which(tool) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 2
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        program = resample_program.build(Path(folder) / "program", _COMPILER, ["-O3", "-static"])
        for first in range(0, given.cases, _BATCH):
            numbers = range(first, min(first + _BATCH, given.cases))
            cases = [resample_cases.case(given.seed, number) for number in numbers]
            for variant in _VARIANTS:
                wrong += resample_program.differing([_EMULATOR, str(program), variant], cases)
            print(f"{numbers.stop:,} of {given.cases:,}, {wrong} differ", flush=True)
    print(f"{given.cases:,} cases x {', '.join(_VARIANTS)} on 64-bit Arm: {wrong} differ from Pillow")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
