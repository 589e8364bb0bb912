"""``python -m tests.parity.equality_resample``: every variant of this machine against Pillow, bytes equal.

Generated cases and all real photographs at hand. Exit status 1 when a byte differs or nothing was compiled.
"""

from __future__ import annotations

import argparse
import functools
import io
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import PIL
from PIL import Image

from bench import photos
from export import corpus
from tests.parity import resample_cases
from tests.parity.resample_cases import Case

_PHOTO_SIZES = ((640, 360), (1920, 1080), (4000, 3000))
_REPORT_S = 10.0


def main(argv: list[str] | None = None) -> int:
    """Run, print the counts, and return the exit status."""
    parser = argparse.ArgumentParser(prog="equality_resample", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this case alone")
    parser.add_argument("--no-photographs", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(argv)
    compiled = resample_cases.compiled()
    print(f"variants: {', '.join(compiled) or 'none'}, against Pillow {PIL.__version__}", flush=True)
    if not compiled:
        print("the extension is not built: `make setup` builds it where there is a compiler", file=sys.stderr)
        return 1
    numbers = range(given.cases) if given.only is None else range(given.only, given.only + 1)
    try:
        counts, wrong = _generated(given.seed, numbers, given.processes)
    except BrokenProcessPool:
        print("a process died in the extension", file=sys.stderr)
        return 1
    if given.only is None and not given.no_photographs:
        for name, case in photographs():
            counts["photographs"] += 1
            wrong += [f"{name}: {variant}" for variant in resample_cases.differing(case)]
    for name, count in sorted(counts.items()):
        print(f"  {count:>9,}  {name}")
    for line in wrong[:20]:
        print(f"DIFFERS  {line}")
    total = counts["cases"] + counts["photographs"]
    print(f"{total:,} pictures x {len(compiled)} variants: {len(wrong)} differ from Pillow")
    return 1 if wrong else 0


def photographs() -> Iterator[tuple[str, Case]]:
    """The real ones: as their files are, in colour and grey, and as camera-sized sheets."""
    encoded = [(case.name, case.data) for case in corpus.photographs()]
    encoded += [(f"{w} x {h} number {i}", data) for w, h in _PHOTO_SIZES for i, data in enumerate(photos.jpegs(w, h))]
    for name, data in encoded:
        with Image.open(io.BytesIO(data)) as image:
            geometry = resample_cases.contract(image.size)
            for mode in ("RGB", "L"):
                yield f"{name} {mode}", Case("photograph", np.asarray(image.convert(mode)), geometry)


def _generated(seed: int, numbers: range, processes: int) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    begun = reported = time.monotonic()
    # Unlike a Pool, it says so when one of its processes dies, as under a sanitizer's finding.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        for features, differing in pool.map(functools.partial(_one, seed), numbers, chunksize=16):
            counts.update(["cases", *features])
            wrong += differing
            if time.monotonic() - reported > _REPORT_S:
                reported = time.monotonic()
                each_s = counts["cases"] / (reported - begun)
                print(
                    f"{counts['cases']:,} of {len(numbers):,}, {each_s:.0f} a second, {len(wrong)} differ", flush=True
                )
    return counts, wrong


def _one(seed: int, index: int) -> tuple[list[str], list[str]]:
    case = resample_cases.case(seed, index)
    differing = resample_cases.differing(case)
    features = [f"kind: {case.kind}", f"{case.pixels[0, 0].size} bytes a pixel"]
    wrong = [f"seed {seed} case {index} {case.kind} {case.geometry}: {variant}" for variant in differing]
    return [*features, *case.geometry.features()], wrong


if __name__ == "__main__":
    raise SystemExit(main())
