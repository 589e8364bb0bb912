"""What the encoder and the decoder reach alone, with everything ready in memory and no worker around them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heimdex_clip.encoder.cpus import available_cpus
from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.encoder.preprocess import preprocess

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
MAX_PIXELS = 50_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Images a second on all cores, and CPU milliseconds an image."""

    per_s: float
    cpu_ms: float


class Ceiling:
    """The encoder on ready tensors and the decoder on ready bytes. One call at a time, off the event loop."""

    def __init__(self, model_dir: Path) -> None:
        self._encoder: Encoder = open_encoder(model_dir, runtime="cpu")
        self.batch_size = 1

    def pixels(self, jpegs: Sequence[bytes]) -> list[NDArray[np.uint8]]:
        """Ready tensors of these images, each uint8 ``[size, size, 3]``."""
        return [self._decode(data) for data in jpegs]

    def choose_batch_size(self, pixels: Sequence[NDArray[np.uint8]], *, window_s: float) -> dict[int, Rate]:
        """Try every batch size for `window_s` seconds each, keep the fastest; returns all rates."""
        rates: dict[int, Rate] = {}
        for self.batch_size in BATCH_SIZES:
            rates[self.batch_size] = self.encode(pixels, window_s=window_s)
        self.batch_size = max(rates, key=lambda size: rates[size].per_s)
        return rates

    def encode(self, pixels: Sequence[NDArray[np.uint8]], *, window_s: float) -> Rate:
        """Batches of `batch_size`, one after the other, as the one thread that owns the device runs them."""
        batch = np.stack(list(itertools.islice(itertools.cycle(pixels), self.batch_size)))
        return _rate(lambda _turn: self._encoder.encode_pixels(batch), threads=1, images=len(batch), window_s=window_s)

    def decode(self, jpegs: Sequence[bytes], *, window_s: float) -> Rate:
        """Bytes to tensors on one thread a core."""
        return _rate(
            lambda turn: self._decode(jpegs[turn % len(jpegs)]), threads=available_cpus(), images=1, window_s=window_s
        )

    def _decode(self, data: bytes) -> NDArray[np.uint8]:
        return preprocess(data, size=self._encoder.image_size, max_pixels=MAX_PIXELS)


def mean(first: Rate, second: Rate) -> Rate:
    """The rate between two measurements, where what stood between them was measured."""
    return Rate((first.per_s + second.per_s) / 2, (first.cpu_ms + second.cpu_ms) / 2)


def combined(encode: Rate, decode: Rate) -> float:
    """Images a second that all cores allow when each image is encoded once and decoded once."""
    return 1 / (1 / encode.per_s + 1 / decode.per_s)


def _rate(work: Callable[[int], object], *, threads: int, images: int, window_s: float) -> Rate:
    """Repeat `work` (which handles `images` images) on every thread until `window_s` seconds are over."""
    done = [0] * threads

    def repeat(thread: int) -> None:
        while time.perf_counter() < until:
            work(done[thread])
            done[thread] += 1

    work(0)
    started, cpu_started = time.perf_counter(), time.process_time()
    until = started + window_s
    workers = [threading.Thread(target=repeat, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    total = sum(done) * images
    return Rate(total / seconds, cpu_s * 1000 / total)
