"""``python -m bench gpu``: every lane of this GPU beside PyTorch fp16, and what the GPU could do at most."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import photos, report
from bench.errors import BenchError
from bench.ratios import Target, paired, verdict
from heimdex_clip.encoder import manifest
from heimdex_clip.encoder.cpus import available_cpus
from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.encoder.preprocess import preprocess
from heimdex_clip.encoder.runtimes import LANES, cuda_driver
from heimdex_clip.encoder.runtimes.cuda_driver import Device, Driver

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ROUNDS = 5
WINDOW_S = 0.3
GFLOP_PER_IMAGE = 8.82
EAGER, COMPILED = "torch eager fp16", "torch.compile fp16"
END_TO_END_BATCH, END_TO_END_IMAGES = 64, 2048
MAX_PIXELS = 50_000_000
FASTER_AT_64 = Target("cuda / torch eager, batch 64", at_least=1.3)
FASTER_AT_1 = Target("cuda / torch eager, batch 1", at_least=3.0)
OF_PEAK = Target("cuda of the GEMM peak, batch 256", at_least=0.45)
START = Target("process start to first vector, s", at_most=2.5)
END_TO_END = Target("end to end of its slowest stage", at_least=0.9)

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Rates = dict[int, dict[str, list[float]]]
"""Images a second: by batch size, by contender, one figure a round."""


@dataclass
class Samples:
    """Everything measured. Memory in bytes, times in seconds."""

    device: str
    driver_cuda: str
    passed_over: dict[str, str] = field(default_factory=dict)
    rates: Rates = field(default_factory=dict)
    gemm_tflops: float = 0.0
    opening_s: dict[str, float] = field(default_factory=dict)
    start_s: dict[str, float] = field(default_factory=dict)
    memory_bytes: dict[str, int] = field(default_factory=dict)
    decode_per_s: float = 0.0
    end_to_end_per_s: dict[str, float] = field(default_factory=dict)


async def run(model_dir: Path, checkpoint: Path | None) -> int:
    """Measure and print; 0 when every target is reached. Raises BenchError where no GPU is."""
    device = cuda_driver.probe()
    if isinstance(device, str):
        raise BenchError(f"nothing was measured, for want of a GPU: {device}")
    return await asyncio.to_thread(_run, model_dir, checkpoint, device)


def _run(model_dir: Path, checkpoint: Path | None, device: Device) -> int:
    from bench import gpu_torch

    print(f"{report.machine_line()}; GPU: {device.name} sm{device.compute_capability}, CUDA {device.cuda}", flush=True)
    samples = Samples(device.name, device.cuda)
    contenders: dict[str, Run] = gpu_torch.contenders(model_dir, checkpoint)
    contenders |= {name: encoder.encode_pixels for name, encoder in _lanes(model_dir, samples)}
    side = manifest.load(model_dir).identity.preprocessing.image_size
    samples.rates = rates(contenders, side)
    samples.gemm_tflops = gpu_torch.gemm_tflops()
    _end_to_end(contenders, side, samples)
    for line in table(samples):
        print(line)
    found = verdict(figures(samples))
    kept = report.save("gpu", settings={"rounds": ROUNDS, "window_s": WINDOW_S}, samples=vars(samples), verdict=found)
    print(f"samples: {kept}\n{found.line}")
    return found.exit_code


def _lanes(model_dir: Path, samples: Samples) -> Iterator[tuple[str, Encoder]]:
    """Each GPU lane that can run, opened; what that cost goes into `samples`, and why another cannot."""
    driver = Driver.load()
    driver.attach()
    model = manifest.load(model_dir)
    for lane in LANES:
        if lane.name == "cpu":
            continue
        if reason := lane.unavailable(model):
            samples.passed_over[lane.name] = reason
            print(f"lane {lane.name} is left out: {reason}", flush=True)
            continue
        before, started = driver.memory_bytes()[0], time.perf_counter()
        encoder = open_encoder(model_dir, runtime=lane.name)
        samples.opening_s[lane.name] = time.perf_counter() - started
        samples.memory_bytes[lane.name] = before - driver.memory_bytes()[0]
        samples.start_s[lane.name] = _start_s(model_dir, lane.name)
        yield lane.name, encoder


def _start_s(model_dir: Path, lane: str) -> float:
    """Seconds of a fresh process from its start to the first vector (the self-test's), the SDK not imported."""
    code = (
        "import sys; from pathlib import Path; from heimdex_clip.encoder.encoder import open_encoder;"
        " open_encoder(Path(sys.argv[1]), runtime=sys.argv[2])"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(model_dir), lane], check=True, timeout=120)
    return time.perf_counter() - started


def rates(
    contenders: dict[str, Run], side: int, *, batches: tuple[int, ...] = BATCHES, window_s: float = WINDOW_S
) -> Rates:
    """Host pixels to host vectors, the contenders interleaved in every round, after a warm-up of each."""
    found: Rates = {}
    for size in batches:
        pixels = np.random.default_rng(size).integers(0, 256, (size, side, side, 3), np.uint8)
        for encode in contenders.values():
            encode(pixels)
        found[size] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, encode in contenders.items():
                found[size][name].append(_rate(encode, pixels, window_s))
    return found


def _rate(encode: Run, pixels: NDArray[np.uint8], window_s: float) -> float:
    started, images = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < window_s or not images:
        encode(pixels)
        images += len(pixels)
    return images / elapsed if elapsed else float("nan")


def _end_to_end(contenders: dict[str, Run], side: int, samples: Samples) -> None:
    """JPEGs to vectors: every core decodes, one thread encodes batches."""
    jpegs = list(itertools.islice(itertools.cycle(photos.jpegs(640, 360)), END_TO_END_IMAGES))

    def decode(data: bytes) -> NDArray[np.uint8]:
        return preprocess(data, size=side, max_pixels=MAX_PIXELS)

    with ThreadPoolExecutor(available_cpus()) as pool:
        started = time.perf_counter()
        list(pool.map(decode, jpegs))
        samples.decode_per_s = len(jpegs) / (time.perf_counter() - started)
        for name in samples.opening_s:
            started = time.perf_counter()
            ready = pool.map(decode, jpegs)
            while batch := list(itertools.islice(ready, END_TO_END_BATCH)):
                contenders[name](np.stack(batch))
            samples.end_to_end_per_s[name] = len(jpegs) / (time.perf_counter() - started)


def figures(samples: Samples) -> list[tuple[Target, float]]:
    """Each target with what was measured of the cuda lane; NaN, which reaches none, where it did not run."""
    nan, lane = float("nan"), "cuda"
    if lane not in samples.opening_s:
        return [(target, nan) for target in (FASTER_AT_64, FASTER_AT_1, OF_PEAK, START, END_TO_END)]
    by_size = samples.rates
    encode_per_s = float(np.median(by_size[END_TO_END_BATCH][lane]))
    of_peak = float(np.median(by_size[256][lane])) * GFLOP_PER_IMAGE / 1000 / samples.gemm_tflops
    return [
        (FASTER_AT_64, paired(by_size[64][lane], by_size[64][EAGER]).median),
        (FASTER_AT_1, paired(by_size[1][lane], by_size[1][EAGER]).median),
        (OF_PEAK, of_peak),
        (START, samples.start_s[lane]),
        (END_TO_END, samples.end_to_end_per_s[lane] / min(samples.decode_per_s, encode_per_s)),
    ]


def table(samples: Samples) -> Iterator[str]:
    """The figures as Markdown."""
    names = list(next(iter(samples.rates.values())))
    yield f"| batch | {' | '.join(names)} |"
    yield f"| ---: |{' ---: |' * len(names)}"
    for size, found in samples.rates.items():
        cells = (f"{(rate := float(np.median(found[name]))):.0f}/s, {size / rate * 1000:.2f} ms" for name in names)
        yield f"| {size} | {' | '.join(cells)} |"
    yield f"GEMM peak, fp16: {samples.gemm_tflops:.0f} TFLOP/s; decoding alone: {samples.decode_per_s:.0f} images/s"
    for name, seconds in samples.opening_s.items():
        encoding = float(np.median(samples.rates[END_TO_END_BATCH][name]))
        slowest = "decoding" if samples.decode_per_s < encoding else "encoding"
        yield (
            f"{name}: opened in {seconds:.2f} s, process start to first vector {samples.start_s[name]:.2f} s,"
            f" {samples.memory_bytes[name] / 1e6:.0f} MB of GPU memory,"
            f" end to end {samples.end_to_end_per_s[name]:.0f} images/s (slowest stage: {slowest})"
        )
