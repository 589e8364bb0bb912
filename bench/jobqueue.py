"""The queue behind the stand-in for RunPod's job API: jobs, their states, their clocks.

::

    IN_QUEUE ──take──> IN_PROGRESS ──job-done──> COMPLETED | FAILED
        │                   │
        └──────── cancel: CANCELLED, ttl or execution timeout: TIMED_OUT
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_TTL_S = 86400.0
DEFAULT_EXECUTION_TIMEOUT_S = 600.0


class Status(StrEnum):
    """The states that a caller sees."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"


@dataclass(slots=True, eq=False)
class Job:
    """One job. Times are the running loop's clock in seconds; `members` is the worker's result as JSON
    members without the braces around them, as it goes into every envelope.
    """

    id: str
    input: object
    ttl_s: float
    execution_timeout_s: float
    queued_at: float
    started_at: float | None = None
    finished_at: float | None = None
    worker_id: str | None = None
    status: Status = Status.IN_QUEUE
    members: bytes = b""
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None

    def envelope(self) -> bytes:
        """What /runsync and /status answer, as JSON."""
        head: dict[str, object] = {"id": self.id, "status": self.status}
        if self.started_at is not None:
            head["delayTime"] = _ms(self.started_at - self.queued_at)
            head["workerId"] = self.worker_id
            if self.finished_at is not None:
                head["executionTime"] = _ms(self.finished_at - self.started_at)
        text = json.dumps(head).encode()
        return text[:-1] + b", " + self.members + b"}" if self.members else text


class JobQueue:
    """First in, first out, in memory. Create it inside the running loop that uses it.

    Of finished jobs the latest `keep_finished` can still be asked for; older ones are forgotten.
    """

    def __init__(self, *, keep_finished: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._keep_finished = keep_finished
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._finished_ids: deque[str] = deque()
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._stops: defaultdict[str, asyncio.Queue[str]] = defaultdict(asyncio.Queue)
        self.counts: Counter[Status] = Counter()
        """How many jobs ever entered each state."""

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, job_id: str) -> Job | None:
        """The job of that id, None once it is forgotten."""
        return self._jobs.get(job_id)

    def count(self, status: Status) -> int:
        """How many jobs are in `status` now (finished ones: of those not forgotten)."""
        return sum(job.status is status for job in self._jobs.values())

    def submit(
        self,
        job_input: object,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        execution_timeout_s: float = DEFAULT_EXECUTION_TIMEOUT_S,
        prefix: str = "",
    ) -> Job:
        """Queue a job; `prefix` goes before its random id."""
        job = Job(f"{prefix}{uuid.uuid4()}", job_input, ttl_s, execution_timeout_s, queued_at=self._loop.time())
        job.timer = self._loop.call_later(ttl_s, self.expire, job)
        self._jobs[job.id] = job
        self.counts[job.status] += 1
        self._waiting.put_nowait(job)
        return job

    async def take(self, worker_id: str, *, limit: int = 1, wait_s: float) -> list[Job]:
        """Give up to `limit` jobs to a worker, waiting up to `wait_s` for the first; empty when none came."""
        taken: list[Job] = []
        try:
            async with asyncio.timeout(wait_s):
                while not taken:
                    self._start(await self._waiting.get(), worker_id, taken)
        except TimeoutError:
            return taken
        while len(taken) < limit and not self._waiting.empty():
            self._start(self._waiting.get_nowait(), worker_id, taken)
        return taken

    def finish(self, job: Job, status: Status, members: bytes = b"") -> bool:
        """End a job that is not ended yet, and tell its worker to stop if it is ended from outside.

        Returns whether it still counted: a result that comes after the end is dropped.
        """
        if job.finished.is_set():
            return False
        if job.worker_id is not None and status in (Status.CANCELLED, Status.TIMED_OUT):
            self._stops[job.worker_id].put_nowait(job.id)
        if job.timer is not None:
            job.timer.cancel()
        job.status, job.members, job.finished_at = status, members, self._loop.time()
        job.input = None  # images sent along would stay in memory for as long as the result
        job.finished.set()
        self.counts[status] += 1
        self._finished_ids.append(job.id)
        while len(self._finished_ids) > self._keep_finished:
            self._jobs.pop(self._finished_ids.popleft(), None)
        return True

    def succeed(self, job: Job, output: object) -> bool:
        """End a job as a worker's handler would that returned `output`."""
        fields: dict[str, object] = {"output": output}
        if isinstance(output, Mapping) and output.get("error"):
            rest = {name: value for name, value in output.items() if name != "error"}
            fields = {"output": rest, "error": output["error"]}
        return self.finish(job, *read_result(json.dumps(fields).encode()))

    def cancel(self, job: Job) -> None:
        """The caller no longer wants it."""
        self.finish(job, Status.CANCELLED)

    def expire(self, job: Job) -> None:
        """Its ttl (in the queue) or its execution timeout (at a worker) has passed."""
        self.finish(job, Status.TIMED_OUT)

    def forget(self, job: Job) -> None:
        """Lose every trace of a job, as the platform does once a result's retention is over."""
        self._jobs.pop(job.id, None)

    async def stop_signals(self, worker_id: str, *, wait_s: float) -> list[str]:
        """Ids of the jobs that a worker is to stop, waiting up to `wait_s` for the first."""
        stops = self._stops[worker_id]
        try:
            async with asyncio.timeout(wait_s):
                ids = [await stops.get()]
        except TimeoutError:
            return []
        while not stops.empty():
            ids.append(stops.get_nowait())
        return ids

    def _start(self, job: Job, worker_id: str, taken: list[Job]) -> None:
        if job.status is not Status.IN_QUEUE:
            return  # cancelled or expired while it waited
        job.status, job.worker_id, job.started_at = Status.IN_PROGRESS, worker_id, self._loop.time()
        self.counts[job.status] += 1
        if job.timer is not None:
            job.timer.cancel()
        job.timer = self._loop.call_later(job.execution_timeout_s, self.expire, job)
        taken.append(job)


def read_result(body: bytes) -> tuple[Status, bytes]:
    """A worker's posted result -> its status and its members. Raises ValueError when it is not a JSON object.

    An `error` beside `output` means FAILED; IN_PROGRESS is a progress report, no result.
    """
    # Passed on unread in the usual case: a vector's JSON costs more to parse than all else here.
    if body.startswith(b'{"output": ') and body.endswith(b"}") and b'"error"' not in body and b'"stopPod"' not in body:
        return Status.COMPLETED, body[1:-1]
    fields = json.loads(body)
    if not isinstance(fields, dict):
        raise ValueError("a result must be a JSON object")
    if fields.get("status") == Status.IN_PROGRESS:
        return Status.IN_PROGRESS, b""
    kept = {name: fields[name] for name in ("error", "output") if name in fields}
    status = Status.FAILED if kept.get("error") else Status.COMPLETED
    return status, json.dumps(kept).encode()[1:-1]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
