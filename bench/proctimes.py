"""Where a worker process spends its CPU time, and when it logged what, seen from outside."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass

import psutil

from bench.errors import BenchError


@dataclass(frozen=True, slots=True)
class CpuTime:
    """CPU seconds, user and system, since the process started.

    `total_s` is the process with its children; `main_thread_s` and `children_s` are parts of it, the rest
    belongs to other threads, ended ones included.
    """

    total_s: float
    main_thread_s: float
    children_s: float

    @property
    def other_threads_s(self) -> float:
        """What neither the main thread nor a child used."""
        return self.total_s - self.main_thread_s - self.children_s


@dataclass(frozen=True, slots=True)
class Step:
    """A line that the worker logged: seconds and CPU seconds (to the next sample) since it was started."""

    event: str
    at_s: float
    cpu_s: float


def cpu_time(pid: int) -> CpuTime:
    """CPU time of a process and its children so far, in steps of 10 ms. Raises BenchError once it has ended."""
    try:
        process = psutil.Process(pid)
        own = process.cpu_times()
        main_s = next((t.user_time + t.system_time for t in process.threads() if t.id == pid), 0.0)
        children = process.children(recursive=True)
    except psutil.NoSuchProcess:
        raise BenchError(f"the process {pid} has ended") from None
    children_s = 0.0
    for child in children:
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        children_s += times.user + times.system
    # Children that ended and were waited for are in the parent's own account.
    reaped_s = own.children_user + own.children_system
    return CpuTime(own.user + own.system + children_s + reaped_s, main_s, children_s + reaped_s)


class StepWatch:
    """Reads a worker's log as it grows and notes when each event came and what it had cost by then."""

    def __init__(self, *, started_at: float) -> None:
        """`started_at` is Unix seconds."""
        self._started_at = started_at
        self._read = 0
        self.steps: list[Step] = []

    def sample(self, output: str, cpu_s: float) -> None:
        """Take in the worker's whole output so far; `cpu_s` is its CPU time now."""
        complete = output.rfind("\n") + 1
        for line in output[self._read : complete].splitlines():
            event = _event(line)
            if event is not None:
                self.steps.append(Step(event[0], event[1] - self._started_at, cpu_s))
        self._read = complete


def _event(line: str) -> tuple[str, float] | None:
    """(event, Unix seconds) of a JSON log line, None for any other."""
    try:
        fields = json.loads(line)
        stamp = datetime.datetime.fromisoformat(fields["time"])
        return str(fields["event"]), stamp.timestamp()
    except (ValueError, KeyError, TypeError):
        return None
