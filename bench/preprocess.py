"""Preprocessing beside Pillow alone, whose bytes it gives: on one core, and in the worker with its encoder off.

On one core: interleaved pairs on photographs, in CPU time of the one thread. In the worker: 1080p JPEGs through
the SDK's own loop on two cores, a sleep in the encoder's place. The job API and the server of photographs stand
on the same two cores; what they take is printed, for it weighs on both sides.
"""

from __future__ import annotations

import io
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench import contenders, imageserver, photos, ratios, report
from bench.contenders import Contender
from bench.errors import BenchError
from bench.imageserver import Photos, Size
from bench.load import Load, Running
from bench.proctimes import cpu_time
from bench.ratios import Target
from bench.worker import started
from heimdex_clip.encoder.preprocess import preprocess, resized_crop, to_pixels
from heimdex_clip.encoder.routes import PILLOW, Route, fastest

SIDE = 224
MAX_PIXELS = 50_000_000
CAMERA = (4000, 3000)
SERVED: Size = (1920, 1080)
WHOLE: dict[Size, float] = {(640, 360): 2.5, SERVED: 2.5, CAMERA: 3.0}
"""Sizes, and how many times the speed of Pillow alone decoding, resizing and cropping must have."""
RESIZE_AT_LEAST = 6.0
WHOLE_WORK, RESIZE_WORK = "decode + resize + crop", "resize + crop"
IN_WORKER = Target(f"jobs/s at {SERVED[1]}p, encoder off, new / Pillow", at_least=1.9)
CORES = 2
CLIENTS = 32

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure: pairs by size, and rounds of the worker's part with seconds of a window."""

    pairs: dict[Size, int]
    rounds: int
    window_s: float


FULL = Plan({(640, 360): 90, SERVED: 54, CAMERA: 27}, rounds=7, window_s=6)
QUICK = Plan({(640, 360): 9, SERVED: 9, CAMERA: 5}, rounds=1, window_s=3)


@dataclass(frozen=True, slots=True)
class Pair:
    """The same work by Pillow and by the fastest route: CPU milliseconds each."""

    work: str
    size: Size
    pillow_ms: float
    fast_ms: float


@dataclass(frozen=True, slots=True)
class Round:
    """One closed loop before a worker: what it saw, and the CPU milliseconds a job of all who took part."""

    route: str
    load: Load
    worker_ms: float
    photographs_ms: float
    job_api_ms: float


async def run(model_dir: Path, plan: Plan) -> int:
    """Measure, print, save; returns the exit code. Raises ClipError."""
    route = fastest()
    if route.lacking:
        raise BenchError(f"nothing to measure: {'; '.join(route.lacking)}")
    print(report.machine_line())
    print(f"decoder {route.decoder}, resampler {route.resampler}, beside {PILLOW.decoder}", flush=True)
    with on_cores(1):
        pairs = [pair for size in plan.pairs for pair in measured_pairs(size, plan.pairs[size])]
    figures = [figure(work, size, pairs) for work, size in itertools.product((WHOLE_WORK, RESIZE_WORK), plan.pairs)]
    with on_cores(CORES):
        rounds = await _in_worker(model_dir, plan)
    figures.append((IN_WORKER, jobs_ratio(rounds)))
    verdict = ratios.verdict(figures)
    samples = {"one core": [asdict(pair) for pair in pairs], "in the worker": [asdict(turn) for turn in rounds]}
    settings = {"decoder": route.decoder, "resampler": route.resampler, "clients": CLIENTS, "cores": CORES}
    report.save("preprocess", settings=settings, samples=samples, verdict=verdict)
    print(verdict.line)
    return verdict.exit_code


def measured_pairs(size: Size, count: int) -> list[Pair]:
    """`count` pairs of either kind of work on the photographs of one size, each side first every second time.

    Raises BenchError when the two sides differ in a byte.
    """
    route = fastest()
    files = photos.jpegs(*size)
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
    arrays = [np.asarray(image) for image in images]

    def whole(number: int, by: Route) -> Pixels:
        return preprocess(files[number], size=SIDE, max_pixels=MAX_PIXELS, route=by)

    def resize(number: int, by: Route) -> Pixels:
        return to_pixels(images[number], SIDE) if by is PILLOW else resized_crop(arrays[number], SIDE, by)

    found = []
    for work, do in ((WHOLE_WORK, whole), (RESIZE_WORK, resize)):
        for number in range(len(files)):
            if not np.array_equal(do(number, PILLOW), do(number, route)):
                raise BenchError(f"{work}: the two differ on photograph {number} of {size[0]}x{size[1]}")
        for turn in range(count):
            order = (PILLOW, route) if turn % 2 else (route, PILLOW)
            took = {by.variant: _cpu_ms(do, turn % len(files), by) for by in order}
            found.append(Pair(work, size, took[PILLOW.variant], took[route.variant]))
    return found


def _cpu_ms(do: Callable[[int, Route], Pixels], number: int, by: Route) -> float:
    """CPU time, which others on the machine disturb less than the clock's."""
    started_s = time.thread_time()
    do(number, by)
    return (time.thread_time() - started_s) * 1000


def figure(work: str, size: Size, pairs: Sequence[Pair]) -> tuple[Target, float]:
    """The target of one kind of work on one size, and the median ratio; prints the line."""
    own = [pair for pair in pairs if (pair.work, pair.size) == (work, size)]
    ratio = ratios.paired([pair.pillow_ms for pair in own], [pair.fast_ms for pair in own])
    pillow, fast = (statistics.median(times) for times in zip(*((p.pillow_ms, p.fast_ms) for p in own), strict=True))
    print(f"  {work:<22} {size[0]:>4}x{size[1]:<4}  Pillow {pillow:7.2f} ms  here {fast:6.2f} ms  ratio {ratio}")
    at_least = WHOLE[size] if work == WHOLE_WORK else RESIZE_AT_LEAST
    return Target(f"{work} {size[0]}x{size[1]}", at_least=at_least), ratio.median


async def _in_worker(model_dir: Path, plan: Plan) -> list[Round]:
    """The worker on either route in turn, each with its own process, the other idle."""
    async with imageserver.serving([SERVED]) as served:
        env = contenders.worker_env(model_dir, image_port=served.port)
        stub = (sys.executable, "-m", "bench.stub_worker", "--decode")
        async with (
            started(Contender("fastest", (*stub, "fastest"), env)) as fast,
            started(Contender("pillow", (*stub, "pillow"), env)) as pillow,
        ):
            for worker in (fast, pillow):
                await worker.embedding(served.urls[SERVED][0])
            order = [
                worker for turn in range(plan.rounds) for worker in ((pillow, fast) if turn % 2 else (fast, pillow))
            ]
            return [await _round(worker, served, plan.window_s) for worker in order]


async def _round(worker: Running, served: Photos, window_s: float) -> Round:
    def others_s() -> tuple[float, float]:
        return cpu_time(served.pid).total_s, time.process_time()

    before = others_s()
    worked = await worker.load(served.urls[SERVED], clients=CLIENTS, window_s=window_s)
    photographs_ms, job_api_ms = (
        (after - start) * 1000 / worked.load.all_jobs for start, after in zip(before, others_s(), strict=True)
    )
    turn = Round(worker.contender.name, worked.load, worked.cpu_ms, photographs_ms, job_api_ms)
    print(
        f"  {turn.route:<8} {turn.load.jobs_per_s:6.1f} jobs/s  CPU ms a job: worker {turn.worker_ms:5.1f},"
        f" photographs {turn.photographs_ms:4.1f}, job API {turn.job_api_ms:4.1f}",
        flush=True,
    )
    return turn


def jobs_ratio(rounds: Sequence[Round]) -> float:
    """Jobs a second of the fastest route to Pillow's, the median of the rounds."""
    by_route = {name: [turn.load.jobs_per_s for turn in rounds if turn.route == name] for name in ("fastest", "pillow")}
    return ratios.paired(by_route["fastest"], by_route["pillow"]).median


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """This process, and what it starts, on the first cores that it may use."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < count:
        raise BenchError(f"{count} cores are needed, {len(allowed)} are here")
    os.sched_setaffinity(0, set(sorted(allowed)[:count]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
