"""Process start to first embedding, beside the PyTorch reference worker, through the SDK's own loop.

A job already waits in the queue when the process starts, as it does when a platform starts a worker for
it; the clock stops when the job's answer has arrived. Pairs are interleaved in alternating order. Each
worker is started once before, uncounted, so that files and bytecode are cached for both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import contenders, imageserver, ratios, report, torch_model
from bench.contenders import Contender
from bench.errors import BenchError
from bench.jobapi import JobApi, WorkerProcess, start_worker
from bench.proctimes import CpuTime, Step, StepWatch, cpu_time
from bench.ratios import Target
from heimdex_clip.encoder import manifest

TARGET = Target("start to first embedding, pytorch / worker", at_least=5)
SIZE = (640, 360)
_TIMEOUT_S = 180
_SAMPLE_S = 0.02


@dataclass(frozen=True, slots=True)
class Start:
    """One measured start: seconds from the process's start to the first answer, and what they went to."""

    worker: str
    seconds: float
    cpu: CpuTime
    steps: tuple[Step, ...]


async def measure(contender: Contender, job_input: Callable[[], Any]) -> tuple[Start, list[float]]:
    """Start a worker with a job waiting for it; returns the measurement and the job's embedding.

    Raises BenchError when the worker ends, or gives no embedding in time.
    """
    loop = asyncio.get_running_loop()
    async with JobApi() as api:
        job = api.queue.submit(job_input())
        watch = StepWatch(started_at=time.time())
        started = loop.time()
        async with start_worker(
            contender.argv, {**contender.env, **api.environment()}, cwd=contenders.ROOT, stop_timeout_s=0
        ) as worker:
            cpu = await _watch_until(job.finished, worker, watch)
            if job.finished_at is None or cpu is None:
                raise BenchError(f"{contender.name} gave no answer; its last words: {worker.output()[-500:]!r}")
        seconds = job.finished_at - started
        steps = (*watch.steps, Step("answered", seconds, cpu.total_s))
        return Start(contender.name, seconds, cpu, steps), contenders.embedding(job)


async def _watch_until(finished: asyncio.Event, worker: WorkerProcess, watch: StepWatch) -> CpuTime | None:
    """Sample the worker until `finished` is set; its CPU time then, None when it ended or took too long."""
    until = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < until:
        with suppress(TimeoutError):
            await asyncio.wait_for(finished.wait(), _SAMPLE_S)
        try:
            cpu = cpu_time(worker.process.pid)
        except BenchError:
            await worker.process.wait()
            return None
        watch.sample(worker.output(), cpu.total_s)
        if finished.is_set():
            return cpu
    return None


async def run(model_dir: Path, checkpoint: Path | None, *, pairs: int) -> int:
    """Measure, print, save; returns the exit code. Raises ClipError."""
    model = manifest.load(model_dir)
    checkpoint = torch_model.checkpoint(model, checkpoint)
    print(report.machine_line())
    print(f"model: {model.model} {model.pretrained}; a {SIZE[0]}x{SIZE[1]} JPEG from loopback; {pairs} pairs")
    starts: list[tuple[Start, Start]] = []
    async with imageserver.serving([SIZE]) as photos:
        urls = photos.urls[SIZE]
        workers = (
            contenders.ours(model_dir, image_port=photos.port),
            contenders.pytorch(model, checkpoint=checkpoint),
        )
        print("starting each once, uncounted", flush=True)
        answers = [(await measure(worker, lambda: contenders.job_input(urls[0])))[1] for worker in workers]
        contenders.check_same_vector(*answers)
        for pair in range(pairs):
            starts.append(await _pair(workers, urls[pair % len(urls)], reverse=pair % 2 == 1))
            print(_pair_line(pair, *starts[-1]), flush=True)
    for position in range(len(workers)):
        print(breakdown([pair[position] for pair in starts]))
    ratio = ratios.paired([theirs.seconds for _, theirs in starts], [own.seconds for own, _ in starts])
    verdict = ratios.verdict([(TARGET, ratio.median)])
    samples = [asdict(start) for pair in starts for start in pair]
    settings = {"model": model.model, "pretrained": model.pretrained, "size": SIZE, "pairs": pairs}
    report.save("start", settings=settings, samples=samples, verdict=verdict)
    print(f"ratio: {ratio}")
    print(verdict.line)
    return verdict.exit_code


async def _pair(workers: tuple[Contender, Contender], url: str, *, reverse: bool) -> tuple[Start, Start]:
    """One start of each, the second worker's first when `reverse`; returned in the workers' order."""
    order = reversed(workers) if reverse else workers
    done = [(await measure(worker, lambda: contenders.job_input(url)))[0] for worker in order]
    first, second = reversed(done) if reverse else done
    return first, second


def _pair_line(pair: int, own: Start, theirs: Start) -> str:
    return (
        f"pair {pair + 1}: worker {own.seconds:.2f} s ({own.cpu.total_s:.2f} CPU s),"
        f" pytorch {theirs.seconds:.2f} s ({theirs.cpu.total_s:.2f} CPU s),"
        f" ratio {theirs.seconds / own.seconds:.2f}"
    )


def breakdown(starts: Sequence[Start]) -> str:
    """Where the time of a worker's fastest start went, step by step and thread by thread."""
    fastest = min(starts, key=lambda start: start.seconds)
    cpu = fastest.cpu
    rows = [f"{fastest.worker}, fastest start: what it had logged by when, and the CPU seconds used by then"]
    rows += [f"  {step.at_s:7.2f} s  {step.cpu_s:6.2f} CPU s  {step.event}" for step in fastest.steps]
    rows.append(
        f"  of {cpu.total_s:.2f} CPU s: main thread (imports, the SDK's loop) {cpu.main_thread_s:.2f},"
        f" other threads {cpu.other_threads_s:.2f}, child processes {cpu.children_s:.2f}"
    )
    return "\n".join(rows)
