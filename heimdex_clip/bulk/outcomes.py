"""What an error means for a bulk run: end the run, try again, or an error row. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from heimdex_clip.bulk.rows import Row
from heimdex_clip.errors import (
    AuthFailed,
    ClipError,
    DigestMismatch,
    EndpointUnauthorized,
    EndpointUnavailable,
    ModelMismatch,
    SetupError,
)

_FATAL = (AuthFailed, DigestMismatch, EndpointUnauthorized, ModelMismatch, SetupError)
"""No row's fault, and the same for every row: something must be mended first."""

MAX_TRIES = 4
"""Of a row whose own error is retryable."""
MAX_JOB_FAILURES = 12
"""Of jobs that a row was in: two whole, then in halves until it is alone (8 times from 256), then twice more."""
_WHOLE_TRIES = 2
_MAX_PAUSE_S = 8.0


@dataclass(slots=True)
class Task:
    """A row on its way. `tries` counts its own failures, `job_failures` those of jobs it was in."""

    row: Row
    tries: int = 0
    job_failures: int = 0


@dataclass(slots=True)
class Group:
    """Tasks of one part that travel in one job, not before `due` (the loop's clock, in seconds)."""

    tasks: list[Task] = field(default_factory=list)
    due: float = 0.0


def is_fatal(error: ClipError) -> bool:
    """Whether the run must stop."""
    return isinstance(error, _FATAL)


def after_own_failure(task: Task, error: ClipError) -> float | None:
    """The pause in seconds before the row's next try; None when it has failed for good."""
    task.tries += 1
    return min(2.0 ** (task.tries - 1), _MAX_PAUSE_S) if error.retryable and task.tries < MAX_TRIES else None


def after_job_failure(group: Group, error: ClipError, now: float) -> list[Group]:
    """What to send instead of a job that failed as a whole; empty when its only row has failed for good.

    In halves before long: then one row that kills its worker, or one that the request has no room for, costs
    its neighbours nothing but time.
    """
    passing = error.retryable or isinstance(error, EndpointUnavailable)
    for task in group.tasks:
        task.job_failures += 1
    failures = group.tasks[0].job_failures
    due = now + (min(2.0 ** (failures - 1), _MAX_PAUSE_S) if passing else 0)
    if passing and failures < _WHOLE_TRIES:
        return [Group(group.tasks, due)]
    if len(group.tasks) > 1:
        middle = len(group.tasks) // 2
        return [Group(group.tasks[:middle], due), Group(group.tasks[middle:], due)]
    return [Group(group.tasks, due)] if passing and failures < MAX_JOB_FAILURES else []
