"""What is measured side by side, behind one interface: a library's driver, an HTTP server, a worker on a job queue."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from bench.proctimes import cpu_time
from bench.ratios import percentile

START_TIMEOUT_S = 180
CALL_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Shape:
    """A load: `clients` that each send `batch` images a call, again and again for `window_s` seconds."""

    name: str
    batch: int
    clients: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What a load gave: images a second, a call's p50 and p99, and CPU milliseconds an image of the entrant alone."""

    images: int
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


class Entrant(Protocol):
    """One contestant. Every method raises BenchError when it fails; `stop` never does."""

    @property
    def name(self) -> str:
        """In tables and samples."""

    async def start(self) -> float:
        """Start its process; seconds until the first embedding has arrived."""

    async def load(self, shape: Shape) -> Measured | None:
        """One load; None where the entrant offers no such thing."""

    @property
    def pid(self) -> int:
        """The process that was started."""

    async def stop(self) -> None:
        """End it, however it is."""


def measured(images: int, seconds: float, took_ms: list[float], cpu_s: float) -> Measured:
    """The figures of one load."""
    return Measured(
        images=images,
        per_s=images / seconds,
        p50_ms=statistics.median(took_ms),
        p99_ms=percentile(took_ms, 99),
        cpu_ms=cpu_s * 1000 / images,
    )


async def driven(call: Callable[[int], Awaitable[None]], shape: Shape, pid: int) -> Measured:
    """A closed loop of `shape.clients` tasks; `call(n)` sends the n-th call. As `protocol.load`, for servers."""
    loop = asyncio.get_running_loop()
    taken, took_ms = count(), list[float]()

    async def client() -> None:
        while (called := loop.time()) < until:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await call(next(taken))
            took_ms.append((loop.time() - called) * 1000)

    await call(next(taken))
    cpu_s = cpu_time(pid).total_s
    started = loop.time()
    until = started + shape.window_s
    async with asyncio.TaskGroup() as group:
        for _ in range(shape.clients):
            group.create_task(client())
    seconds = loop.time() - started
    return measured(len(took_ms) * shape.batch, seconds, took_ms, cpu_time(pid).total_s - cpu_s)


def peak_rss_mb(pid: int) -> float:
    """The most memory that a process had resident, in megabytes (10^6); NaN once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return float("nan")
    kib = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), "nan")
    return float(kib) * 1024 / 1e6
