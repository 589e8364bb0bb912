"""The timed loops of the GPU measurement: contenders interleaved, and JPEGs to vectors."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from bench import photos
from bench.gpu_report import END_TO_END_BATCH, Rates
from heimdex_clip.encoder.cpus import available_cpus
from heimdex_clip.encoder.preprocess import preprocess

MAX_PIXELS = 50_000_000
_WARM_UPS = 2  # the first may capture a graph, the second launches it for the first time

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def rates(contenders: Mapping[str, Run], side: int, *, batches: tuple[int, ...], rounds: int, window_s: float) -> Rates:
    """Host pixels to host vectors, the contenders interleaved in every round, after a warm-up of each."""
    found: Rates = {}
    for size in batches:
        pixels = np.random.default_rng(size).integers(0, 256, (size, side, side, 3), np.uint8)
        for encode in contenders.values():
            for _ in range(_WARM_UPS):
                encode(pixels)
        found[size] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, encode in contenders.items():
                found[size][name].append(_rate(encode, pixels, window_s))
    return found


def _rate(encode: Run, pixels: NDArray[np.uint8], window_s: float) -> float:
    started, images = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < window_s or not images:
        encode(pixels)
        images += len(pixels)
    return images / elapsed if elapsed else float("nan")


def end_to_end(contenders: Mapping[str, Run], side: int, *, images: int) -> tuple[float, dict[str, float]]:
    """Images a second of decoding alone, and of JPEGs to vectors: every core decodes, one thread encodes batches."""
    jpegs = list(itertools.islice(itertools.cycle(photos.jpegs(640, 360)), images))

    def decode(data: bytes) -> NDArray[np.uint8]:
        return preprocess(data, size=side, max_pixels=MAX_PIXELS)

    through: dict[str, float] = {}
    with ThreadPoolExecutor(available_cpus()) as pool:
        started = time.perf_counter()
        list(pool.map(decode, jpegs))
        alone = len(jpegs) / (time.perf_counter() - started)
        for name, encode in contenders.items():
            started = time.perf_counter()
            ready = pool.map(decode, jpegs)
            while batch := list(itertools.islice(ready, END_TO_END_BATCH)):
                encode(np.stack(batch))
            through[name] = len(jpegs) / (time.perf_counter() - started)
    return alone, through
