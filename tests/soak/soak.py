"""A worker behind the SDK's own loop under mixed traffic at saturation, and what it did to its process.

The API's queue is filled directly: callers' HTTP would only take cores from the worker.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from bench.jobapi import Job, JobApi, Status, WorkerProcess, start_worker
from tests.e2e.rig import READY, ROOT, worker_env
from tests.soak.traffic import DOWNLOAD_TIMEOUT_S, MAX_BYTES, Kind, Pictures, Traffic

_CLIENTS = 64
_LOST_AFTER_S = 60
_SAMPLE_S = 0.5
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """The worker's process at a time. `ms` is the median latency of the good jobs since the sample before."""

    at_s: float
    jobs: int
    rss_mib: float
    files: int
    threads: int
    ms: float


@dataclass
class Soak:
    """What a soak saw. `wrong` counts (kind, code) pairs that should not be; `lost` jobs had no answer at all."""

    kinds: Counter[str] = field(default_factory=Counter)
    wrong: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: int = 0
    samples: list[Sample] = field(default_factory=list)
    tracebacks: int = 0

    @property
    def jobs(self) -> int:
        return self.kinds.total()

    def quarter(self, number: int) -> list[Sample]:
        """Samples of the quarter 1 to 4 of the time."""
        size = len(self.samples) // 4
        return self.samples[(number - 1) * size : number * size]

    def rss_slope_mib(self) -> float:
        """Growth of the resident memory for each 10,000 jobs, fitted over the second half."""
        half = self.samples[len(self.samples) // 2 :]
        slope, _ = np.polyfit([sample.jobs for sample in half], [sample.rss_mib for sample in half], 1)
        return float(slope) * 10_000

    def median(self, number: int, what: str) -> float:
        """The median of a sample's field in a quarter."""
        return float(np.median([getattr(sample, what) for sample in self.quarter(number)]))


async def soak(model_dir: Path, *, seconds: float, **env: str) -> Soak:
    """Run it for `seconds` after the worker's start."""
    found = Soak()
    pictures = Pictures()
    async with pictures.running() as port, JobApi(take_poll_s=1, stop_poll_s=1, keep_finished=1000) as api:
        variables = {
            **api.environment(),
            **worker_env(model_dir, port),
            "MAX_IMAGE_SIZE_BYTES": str(MAX_BYTES),
            "IMAGE_DOWNLOAD_TIMEOUT": str(DOWNLOAD_TIMEOUT_S),
            **env,
        }
        async with start_worker([sys.executable, "-m", "worker"], variables, cwd=ROOT) as worker:
            await worker.wait_for(READY, timeout_s=60)
            load = _Load(api, Traffic(port, api.endpoint_id, pictures.files), found)
            await load.run(worker, seconds)
            found.tracebacks = _count_lines(worker, b"Traceback")
    return found


class _Load:
    def __init__(self, api: JobApi, traffic: Traffic, found: Soak) -> None:
        self._api = api
        self._traffic = traffic
        self._found = found
        self._took_ms: list[float] = []
        self._number = 0
        self._ends_at = 0.0

    async def run(self, worker: WorkerProcess, seconds: float) -> None:
        started = time.monotonic()
        self._ends_at = started + seconds
        process = psutil.Process(worker.process.pid)
        async with asyncio.TaskGroup() as group:
            for _ in range(_CLIENTS):
                group.create_task(self._client())
            while time.monotonic() < self._ends_at:
                await asyncio.sleep(_SAMPLE_S)
                self._sample(process, time.monotonic() - started)

    async def _client(self) -> None:
        while time.monotonic() < self._ends_at:
            self._number += 1
            kind = self._traffic.draw()
            sent = time.monotonic()
            job = self._api.queue.submit(kind.make(self._number))
            try:
                async with asyncio.timeout(_LOST_AFTER_S):
                    await job.finished.wait()
            except TimeoutError:
                self._found.lost += 1
                continue
            self._count(kind, job, (time.monotonic() - sent) * 1000)

    def _count(self, kind: Kind, job: Job, took_ms: float) -> None:
        code = _code(job)
        self._found.kinds[kind.name] += 1
        if code not in kind.codes:
            self._found.wrong[kind.name, code] += 1
        if code == "OK":
            self._took_ms.append(took_ms)

    def _sample(self, process: psutil.Process, at_s: float) -> None:
        ms = float(np.median(self._took_ms)) if self._took_ms else 0.0
        self._took_ms.clear()
        with process.oneshot():
            rss, threads = process.memory_info().rss, process.num_threads()
        self._found.samples.append(Sample(at_s, self._found.jobs, rss / _MIB, process.num_fds(), threads, ms))


def _code(job: Job) -> str:
    if job.status is Status.COMPLETED:
        return "OK"
    output = json.loads(b"{" + job.members + b"}").get("output", {})
    return str(output.get("code", job.status))


def _count_lines(worker: WorkerProcess, words: bytes) -> int:
    worker.log.seek(0)
    return sum(words in line for line in worker.log)
