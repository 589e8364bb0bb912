"""One job from submission to result, as a generator that does no I/O: both clients drive the same one.

::

    submit ──> pending? ──poll──> result
      ^           │ lost at a worker, failed there, timed out, unreachable, 429, 5xx, overloaded
      └──pause────┘ until the deadline; signed anew each time, under the same request_id
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from heimdex_clip._envelope import Answer, Envelope, http_failure, read_envelope
from heimdex_clip._retries import Retries
from heimdex_clip.errors import BadReply, ClipError, DeadlineExceeded, EndpointUnavailable

_CANCEL_TIMEOUT_S = 2.0
_STATUS_TIMEOUT_S = 10.0
_HTTP_GRACE_S = 5.0  # for an answer to arrive after the wait that was asked for
_MIN_WAIT_S, _MAX_WAIT_S = 1.0, 300.0  # what /runsync takes
_FIRST_POLL_S, _MAX_POLL_S = 0.1, 2.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.25, 5.0


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to call: a URL that every path is under, and the headers that let one in, which `repr` doesn't show."""

    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP request to make: `path` under the target's URL, answered or given up within `timeout_s`."""

    method: Literal["GET", "POST"]
    path: str
    body: bytes | None
    timeout_s: float
    target: Target = Target()


@dataclass(frozen=True, slots=True)
class Pause:
    """Time to let pass before going on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Something to compute that takes its time and blocks: asyncio leaves it to a thread. `run` never raises."""

    run: Callable[[], None]


Steps: TypeAlias = Generator[Call | Pause | Work, Answer | None, T]
"""What to do one after another, until there is a T or a ClipError; each `Call` is sent its `Answer`, else None."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to have done, and how long it may take.

    `build` makes the signed body for an attempt, given the seconds that the job and its execution may take.
    An attempt is given up when a worker has had the job for `attempt_timeout_s`: then it is lost. One that
    still waits in the queue keeps its place there. `spread` maps an upper bound to a random pause below it.
    """

    build: Callable[[float, float], bytes]
    timeout_s: float
    attempt_timeout_s: float
    clock: Callable[[], float]
    spread: Callable[[float], float]
    target: Target = Target()


Exchange: TypeAlias = Generator[Call | Pause, Answer | None, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class _Failed:
    """An attempt without a result; the platform may have said how long to wait before the next."""

    error: ClipError
    retry_after_s: float = 0.0
    silent: bool = False  # nothing came before the deadline


_Attempt: TypeAlias = Generator[Call | Pause, Answer | None, Mapping[str, object] | _Failed]


def run_job(job: Job) -> Exchange:
    """Yield what to do, take the `Answer` to each `Call`, return the job's output.

    Raises the worker's error; EndpointUnauthorized; BadReply; EndpointUnavailable when nothing better came
    before the deadline; DeadlineExceeded when the job was still pending then, cancelled at the platform.
    """
    deadline = job.clock() + job.timeout_s
    pause_s = _FIRST_PAUSE_S
    retries = Retries()
    while True:
        outcome = yield from _attempt(job, deadline)
        if not isinstance(outcome, _Failed):
            return outcome
        if outcome.silent and retries.last is not None:
            # The last attempt had what time was left; the one before it says what is wrong.
            raise retries.last
        wait_s = outcome.retry_after_s + job.spread(pause_s)
        pause_s = min(2 * pause_s, _MAX_PAUSE_S)
        if not retries.cures(outcome.error) or job.clock() + wait_s >= deadline:
            raise outcome.error
        yield Pause(wait_s)


def _attempt(job: Job, deadline: float) -> _Attempt:
    """Submit once and wait for the result; returns the output or why there is none."""
    submitted_at = job.clock()
    left_s = deadline - submitted_at
    attempt_s = min(job.attempt_timeout_s, left_s)
    # The platform's own wait ends before our deadline, so that the job's id arrives and can be cancelled.
    wait_s = min(max(min(attempt_s, left_s - _MIN_WAIT_S), _MIN_WAIT_S), _MAX_WAIT_S)
    answer = yield Call(
        "POST",
        f"/runsync?wait={int(wait_s * 1000)}",
        job.build(left_s, attempt_s),
        min(left_s, wait_s + _HTTP_GRACE_S),
        job.target,
    )
    envelope = _read(answer, job, deadline)
    if isinstance(envelope, _Failed):
        return envelope
    taken_at = submitted_at
    poll_s = _FIRST_POLL_S
    while envelope.pending:
        now = job.clock()
        taken_at = now if envelope.queued else max(taken_at, submitted_at + envelope.delay_s)
        give_up_at = min(taken_at + job.attempt_timeout_s, deadline)
        if now >= give_up_at:
            yield Call("POST", f"/cancel/{envelope.job_id}", None, _CANCEL_TIMEOUT_S, job.target)
            if now >= deadline:
                return _Failed(_too_late(job))
            return _Failed(EndpointUnavailable("a worker took the job and did not answer it in time"))
        yield Pause(min(poll_s, give_up_at - now))
        poll_s = min(2 * poll_s, _MAX_POLL_S)
        timeout_s = min(_STATUS_TIMEOUT_S, max(deadline - job.clock(), _FIRST_POLL_S))
        answer = yield Call("GET", f"/status/{envelope.job_id}", None, timeout_s, job.target)
        current = _read(answer, job, deadline)
        if isinstance(current, Envelope):
            envelope = current
        elif answer is not None and answer.status == 404:
            return _Failed(EndpointUnavailable("the platform no longer knows the job"))
        elif not current.error.retryable:
            return current
        # Else only the question failed, the job lives on: ask again.
    return _Failed(envelope.failure) if envelope.failure else envelope.output


def _read(answer: Answer | None, job: Job, deadline: float) -> Envelope | _Failed:
    if answer is None:
        raise TypeError("every Call must be answered")
    error = http_failure(answer)
    if error is None:
        try:
            return read_envelope(answer.body)
        except BadReply as unreadable:
            return _Failed(unreadable)
    if answer.status is None and job.clock() >= deadline:
        return _Failed(_too_late(job), silent=True)
    return _Failed(error, answer.retry_after_s)


def _too_late(job: Job) -> DeadlineExceeded:
    return DeadlineExceeded(f"no answer within {job.timeout_s:g} s")
