"""What the platform answers, read into one form: a job's state, its output or its failure. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from heimdex_clip import contract
from heimdex_clip.errors import BadReply, ClipError, EndpointUnauthorized, EndpointUnavailable, Internal, InvalidRequest

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
_PENDING = ("IN_QUEUE", "IN_PROGRESS")
_LOST = {
    "TIMED_OUT": ("the platform gave the job up: no worker answered it in time", True),
    "CANCELLED": ("the job was cancelled at the platform", False),
}
_MAX_DELAY_MS = 10**9  # no job waits for days
_MAX_LAYERS = 4  # of errors wrapped in errors; in use are three


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `status` None means that there was none, and `fault` then names the kind of failure."""

    status: int | None
    body: bytes = b""
    retry_after_s: float = 0.0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A job as the platform describes it. `output` counts when it is neither pending nor has a `failure`.

    `delay_s` is how long it waited in the queue, as far as the platform says so.
    """

    job_id: str
    status: str
    output: Mapping[str, object]
    failure: ClipError | None = None
    delay_s: float = 0.0

    @property
    def pending(self) -> bool:
        """Whether the job still waits or runs."""
        return self.status in _PENDING

    @property
    def queued(self) -> bool:
        """Whether no worker has the job yet."""
        return self.status == "IN_QUEUE"


def http_failure(answer: Answer) -> ClipError | None:
    """What went wrong on the way to the platform, None when it answered with an envelope."""
    status = answer.status
    if status == 200:
        return None
    if status is None:
        return EndpointUnavailable(f"the platform cannot be reached ({answer.fault})")
    if status in (401, 403):
        return EndpointUnauthorized(f"the platform refused the API key (HTTP {status})")
    if status == 404:
        return EndpointUnavailable("the platform knows no such endpoint or job (HTTP 404)", retryable=False)
    if status == 413:
        return InvalidRequest("the request is larger than the platform takes (HTTP 413)")
    passing = status in (408, 425, 429) or status >= 500
    return EndpointUnavailable(f"the platform answered HTTP {status}", retryable=passing)


def read_envelope(body: bytes) -> Envelope:
    """Read the JSON of /runsync and /status. Raises BadReply when it is not of the platform's form."""
    fields = _json(body)
    if not isinstance(fields, Mapping) or not isinstance(fields.get("status"), str):
        raise BadReply("the platform's answer is not a job's state")
    job_id, status = fields.get("id"), fields["status"]
    # It becomes part of the next request's path.
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise BadReply("the platform's answer names no job")
    output = fields.get("output")
    result = output if isinstance(output, Mapping) else {}
    if status in _PENDING:
        return Envelope(job_id, status, {}, delay_s=_delay_s(fields.get("delayTime")))
    if status in _LOST:
        message, retryable = _LOST[status]
        return Envelope(job_id, status, {}, EndpointUnavailable(message, retryable=retryable))
    if status == "FAILED" or fields.get("error"):
        return Envelope(job_id, status, {}, _worker_failure(fields.get("error"), result))
    if status != "COMPLETED":
        raise BadReply(f"the platform's answer has the unknown status {status[:40]!a}")
    if result.get("error"):
        # Older versions of the SDK call a job COMPLETED whose output is an error.
        return Envelope(job_id, status, {}, _worker_failure(result["error"], result))
    if not result:
        raise BadReply("the job is completed but has no output")
    return Envelope(job_id, status, result)


def _delay_s(delay_ms: object) -> float:
    # Bounded: a whole number may be too large for a float.
    return min(max(delay_ms, 0), _MAX_DELAY_MS) / 1000 if type(delay_ms) is int else 0.0


def _worker_failure(error: object, output: Mapping[str, object]) -> ClipError:
    """A failure in any of the forms in use.

    The worker's own: a message beside its fields in the output, or all in one object, which may itself be
    JSON text. The SDK's, for an exception that escaped: JSON text of `error_type` and a traceback.
    """
    for _ in range(_MAX_LAYERS):
        if isinstance(error, str) and error.lstrip().startswith("{"):
            decoded = _json(error.encode(errors="replace"))
            error = decoded if isinstance(decoded, Mapping) else error
        if not isinstance(error, Mapping):
            break
        if "error_type" in error:
            return Internal("the worker raised an unexpected error; its log has the cause")
        output = {**output, **error}
        error = error.get("error") or error.get("message")
    if "code" in output:
        return contract.error_from_reply({**output, "error": error})
    # No code, so it does not come from the worker's contract: the platform gave the job up.
    return EndpointUnavailable(f"the job failed: {contract.one_line(error) or 'no reason given'}")


def _json(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
