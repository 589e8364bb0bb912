"""A closed loop of clients before a worker's queue: each sends its next job when the last is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bench import contenders
from bench.contenders import Contender
from bench.errors import BenchError
from bench.jobapi import JobApi, Status, WorkerProcess
from bench.proctimes import cpu_time
from bench.ratios import percentile

Answered = Callable[[int], Awaitable[None]]
"""Sends job number n and returns when it is answered."""
_JOB_TIMEOUT_S = 120
_ANSWERS_EACH = 2
_TICK_S = 0.02


@dataclass(frozen=True, slots=True)
class Load:
    """What a closed loop saw: jobs in the measured window, jobs a second, and latencies in milliseconds.

    `all_jobs` also counts those before and after the window.
    """

    clients: int
    jobs: int
    all_jobs: int
    jobs_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Worked:
    """A load and what it cost the worker: CPU milliseconds a job, over all jobs of the loop."""

    load: Load
    cpu_ms: float


async def closed_loop(answered: Answered, *, clients: int, window_s: float) -> Load:
    """Run `clients` loops; measure from the moment all of them had an answer.

    The window lasts `window_s` seconds, or longer until it holds `_ANSWERS_EACH` answers a client. The rate
    is taken between answers, since answers come in batches: from the last one of the warm-up to the last
    one of the window. All loops have ended when this returns.
    """
    loop = asyncio.get_running_loop()
    finished: list[tuple[float, float]] = []
    cold = set(range(clients))
    all_warm, stopping = asyncio.Event(), False

    async def client(number: int) -> None:
        job = number
        while not stopping:
            sent = loop.time()
            async with asyncio.timeout(_JOB_TIMEOUT_S):
                await answered(job)
            finished.append((loop.time(), loop.time() - sent))
            job += clients
            cold.discard(number)
            if not cold:
                all_warm.set()

    async def watch() -> slice:
        nonlocal stopping
        await all_warm.wait()
        first = len(finished)
        await asyncio.sleep(window_s)
        while len(finished) - first < _ANSWERS_EACH * clients:  # noqa: ASYNC110  # a clock's tick is near enough
            await asyncio.sleep(_TICK_S)
        stopping = True
        return slice(first, len(finished))

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        for number in range(clients):
            group.create_task(client(number))
    window = watching.result()
    warm_at = finished[window.start - 1][0]
    took_ms = [took * 1000 for _, took in finished[window]]
    return Load(
        clients=clients,
        jobs=len(took_ms),
        all_jobs=len(finished),
        jobs_per_s=len(took_ms) / (finished[window][-1][0] - warm_at),
        p50_ms=percentile(took_ms, 50),
        p99_ms=percentile(took_ms, 99),
        max_ms=max(took_ms),
    )


@dataclass(frozen=True, slots=True)
class Running:
    """A worker that serves its own job API, ready for load."""

    contender: Contender
    api: JobApi
    worker: WorkerProcess

    async def load(self, urls: Sequence[str], *, clients: int, window_s: float) -> Worked:
        """Send it images from `urls` in turn. Raises BenchError when a job fails."""

        async def answered(number: int) -> None:
            # Straight into the queue: the callers' HTTP would only take cores from the worker.
            job = self.api.queue.submit(contenders.job_input(urls[number % len(urls)]))
            await job.finished.wait()
            if job.status is not Status.COMPLETED:
                raise BenchError(f"{self.contender.name}: a job ended {job.status}: {job.members[:200]!r}")

        before_s = cpu_time(self.worker.process.pid).total_s
        try:
            load = await closed_loop(answered, clients=clients, window_s=window_s)
        except* TimeoutError:
            raise BenchError(f"{self.contender.name}: no answer within {_JOB_TIMEOUT_S} s") from None
        except* BenchError as failed:
            raise failed.exceptions[0] from None
        cpu_s = cpu_time(self.worker.process.pid).total_s - before_s
        return Worked(load, cpu_s * 1000 / load.all_jobs)

    async def embedding(self, url: str) -> list[float]:
        """One image's vector; also how to wait until the worker is ready. Raises BenchError."""
        job = self.api.queue.submit(contenders.job_input(url))
        ended = asyncio.create_task(self.worker.process.wait())
        finished = asyncio.create_task(job.finished.wait())
        try:
            await asyncio.wait({ended, finished}, timeout=_JOB_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if not job.finished.is_set():
                raise BenchError(f"{self.contender.name} gave no answer: {self.worker.output()[-500:]!r}")
            return contenders.embedding(job)
        finally:
            ended.cancel()
            finished.cancel()
