"""What `status` tells: workers, queue, execution times, error rate, cost. Each part may be missing."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy import api
from deploy.api import Api, LogLine
from deploy.endpoint import Endpoint
from deploy.errors import ApiError

_JOBS = ("inQueue", "inProgress", "completed", "failed", "retried")
_WORKERS = ("running", "idle", "initializing", "throttled", "unhealthy")
COST_DAYS = 30


@dataclass(frozen=True, slots=True)
class JobTimes:
    """The jobs found in the workers' own logs: how many by code, and their `total_ms`, sorted."""

    codes: Counter[str] = field(default_factory=Counter)
    total_ms: Sequence[float] = ()

    @property
    def jobs(self) -> int:
        """How many jobs the lines tell of."""
        return self.codes.total()

    def percentile_ms(self, percent: float) -> float:
        """The nearest-rank percentile; `total_ms` must not be empty."""
        return self.total_ms[max(0, math.ceil(percent / 100 * len(self.total_ms)) - 1)]


def job_times(lines: Iterable[LogLine]) -> JobTimes:
    """Read the worker's JSON lines; any other line is passed over."""
    codes: Counter[str] = Counter()
    total_ms = []
    for line in lines:
        try:
            entry = json.loads(line.line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or entry.get("event") != "job":
            continue
        codes[str(entry.get("code"))] += 1
        if isinstance(entry.get("total_ms"), int | float):
            total_ms.append(float(entry["total_ms"]))
    return JobTimes(codes, sorted(total_ms))


def lines(client: Api, endpoint: Endpoint, *, tail: int = 1000, quiet_s: float = 2.0) -> list[str]:
    """The whole status, ready to print; a part that the platform would not tell says why.

    A worker's log is read until it was quiet for `quiet_s`, or for five times that.
    """
    own_id = str(endpoint["id"])
    told = [
        f"endpoint    {endpoint.get('name')} ({own_id})",
        f"image       {endpoint.get('image')}",
        f"GPUs        {_gpus(endpoint)}",
        f"scaling     {_scaling(endpoint)}",
    ]
    workers: list[dict[str, Any]] = []
    try:
        answer = client.send(api.list_workers(own_id))
        workers = api.rows(answer, "workers")
        told += _worker_lines(answer.get("summary"), workers)
    except ApiError as error:
        told.append(f"workers     not known: {error}")
    try:
        told += _job_lines(client.health(own_id).get("jobs"))
    except ApiError as error:
        told.append(f"queue       not known: {error}")
    told += _time_lines(client, own_id, workers, tail=tail, quiet_s=quiet_s)
    try:
        spent_usd = float(client.send(api.billing(own_id, COST_DAYS))["metadata"]["totals"]["totalAmount"])
        told.append(f"cost        ${spent_usd:.2f} in the last {COST_DAYS} days")
    except (ApiError, KeyError, TypeError, ValueError) as error:
        reason = error if isinstance(error, ApiError) else "the answer holds no total"
        told.append(f"cost        not known: {reason}")
    return told


def _gpus(endpoint: Endpoint) -> str:
    gpu = endpoint.get("gpu") or {}
    without = f" without {', '.join(gpu['excludedTypes'])}" if gpu.get("excludedTypes") else ""
    return f"{gpu.get('count', 1)} of {', '.join(gpu.get('pools', []))}{without}"


def _scaling(endpoint: Endpoint) -> str:
    workers, scaling = endpoint.get("workers") or {}, endpoint.get("scaling") or {}
    value = scaling.get("queueDelay", scaling.get("requestCount"))
    return (
        f"{workers.get('min')} to {workers.get('max')} workers, idle {workers.get('idleTimeout', '-')} s,"
        f" {scaling.get('type')} {value}, flashboot {endpoint.get('flashboot')}"
    )


def _worker_lines(summary: object, workers: Sequence[dict[str, Any]]) -> list[str]:
    counts = summary if isinstance(summary, dict) else {}
    told = ["workers     " + ", ".join(f"{counts.get(name, '?')} {name}" for name in _WORKERS)]
    for worker in workers:
        stale = ", still on an older release" if worker.get("isStale") else ""
        where = worker.get("gpuTypeId") or "not placed yet"
        told.append(f"            {worker.get('id')}: {worker.get('status')}, {where}{stale}")
    return told


def _job_lines(counts: object) -> list[str]:
    jobs = counts if isinstance(counts, dict) else {}
    told = ["queue       " + ", ".join(f"{jobs.get(name, '?')} {name}" for name in _JOBS)]
    done, failed = (value if isinstance(value := jobs.get(name), int) else 0 for name in ("completed", "failed"))
    if done + failed:
        told.append(f"error rate  {failed / (done + failed):.2%} of {done + failed} jobs, by the platform's counts")
    return told


def _time_lines(
    client: Api, endpoint_id: str, workers: Sequence[dict[str, Any]], *, tail: int, quiet_s: float
) -> list[str]:
    """Execution times: the API has none, the workers' own log lines do."""
    found: list[LogLine] = []
    for worker in workers:
        try:
            found += client.logs(endpoint_id, str(worker.get("id")), tail=tail, quiet_s=quiet_s, most_s=5 * quiet_s)
        except ApiError as error:
            return [f"times       not known: {error}"]
    times = job_times(found)
    if not times.jobs:
        return ["times       no job in the logs of the active workers"]
    told = []
    if times.total_ms:
        marks = ", ".join(f"p{percent} {times.percentile_ms(percent):.0f} ms" for percent in (50, 95, 99))
        told.append(f"times       {marks} over {len(times.total_ms)} jobs in the active workers' logs")
    told.append("codes       " + ", ".join(f"{count} {code}" for code, count in times.codes.most_common()))
    return told
