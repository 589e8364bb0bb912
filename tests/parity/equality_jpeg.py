"""``python -m tests.parity.equality_jpeg``: the extension and Pillow on generated JPEGs, sound and spoilt.

Both must take or refuse each file alike and give the same pixels. Exit status 1 when they do not.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import sys
from collections import Counter

import PIL

from heimdex_clip.encoder import jpeg
from heimdex_clip.encoder.routes import fastest
from tests.parity import jpeg_cases

_SHOWN = 20


def main(argv: list[str] | None = None) -> int:
    """Run, print the counts, and return the exit status."""
    parser = argparse.ArgumentParser(prog="equality_jpeg", description=__doc__)
    parser.add_argument("--cases", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this case alone")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(argv)
    if jpeg.lacking():
        print(f"nothing to compare: {jpeg.lacking()}", file=sys.stderr)
        return 1
    print(f"{fastest().decoder}, against Pillow {PIL.__version__}", flush=True)
    numbers = range(given.cases) if given.only is None else range(given.only, given.only + 1)
    counts, wrong = Counter[str](), list[str]()
    with multiprocessing.get_context("fork").Pool(given.processes) as pool:
        for label, problem in pool.imap_unordered(functools.partial(_one, given.seed), numbers, chunksize=64):
            counts[label] += 1
            wrong += [problem] if problem else []
    for label, count in sorted(counts.items()):
        print(f"  {count:>9,}  {label}")
    for problem in wrong[:_SHOWN]:
        print(f"DIFFERS  {problem}")
    print(f"{counts.total():,} JPEGs: {len(wrong)} differ from Pillow")
    return 1 if wrong else 0


def _one(seed: int, index: int) -> tuple[str, str]:
    case = jpeg_cases.case(seed, index)
    problem = jpeg_cases.disagreement(case.data)
    label = f"{case.kind}, {'spoilt' if case.spoilt else 'sound'}: {jpeg_cases.verdict(case.data)}"
    return label, f"seed {seed} case {index} ({label}): {problem}" if problem else ""


if __name__ == "__main__":
    raise SystemExit(main())
