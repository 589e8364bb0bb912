"""From the contract's replies to HTTP: status by error code, and the headers that callers act upon."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse, Response

from heimdex_clip.errors import (
    AuthExpired,
    AuthFailed,
    ClipError,
    DeadlineExceeded,
    DownloadFailed,
    DownloadTimeout,
    ImageInvalid,
    ImageTooLarge,
    InferenceFailed,
    Internal,
    InvalidRequest,
    ModelMismatch,
    Overloaded,
    UrlRefused,
)

STATUS: Mapping[str, HTTPStatus] = {
    AuthFailed.code: HTTPStatus.UNAUTHORIZED,
    AuthExpired.code: HTTPStatus.UNAUTHORIZED,
    InvalidRequest.code: HTTPStatus.BAD_REQUEST,
    ModelMismatch.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    UrlRefused.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    DownloadFailed.code: HTTPStatus.BAD_GATEWAY,
    DownloadTimeout.code: HTTPStatus.GATEWAY_TIMEOUT,
    ImageTooLarge.code: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ImageInvalid.code: HTTPStatus.UNPROCESSABLE_ENTITY,
    InferenceFailed.code: HTTPStatus.INTERNAL_SERVER_ERROR,
    Overloaded.code: HTTPStatus.TOO_MANY_REQUESTS,
    DeadlineExceeded.code: HTTPStatus.GATEWAY_TIMEOUT,
    Internal.code: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Wire code -> HTTP status, where the HTTP layer itself does not say otherwise (`Refusal`)."""

RETRY_AFTER_S = 1
_WAIT = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class Refusal(Exception):
    """The HTTP layer's own answer, before or instead of the service's: an error under a status of its own."""

    def __init__(self, error: ClipError, status: HTTPStatus | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status or STATUS[error.code]


def code_of(reply: Mapping[str, object]) -> str:
    """A reply's wire code, "OK" for a success."""
    return str(reply["code"]) if "error" in reply else "OK"


def status_of(reply: Mapping[str, object]) -> HTTPStatus:
    """A reply's HTTP status."""
    return STATUS[str(reply["code"])] if "error" in reply else HTTPStatus.OK


def reply_response(reply: Mapping[str, object], status: HTTPStatus | None = None) -> Response:
    """A reply of the contract as an HTTP response."""
    status = status or status_of(reply)
    return JSONResponse(reply, status, headers(reply, status))


def headers(reply: Mapping[str, object], status: HTTPStatus) -> dict[str, str]:
    """When to come back, whether it can help, and what took how long."""
    found: dict[str, str] = {}
    if status in _WAIT:
        found["Retry-After"] = str(RETRY_AFTER_S)
    if "error" in reply:
        # The openai package obeys it, where it would otherwise retry by status alone.
        found["X-Should-Retry"] = "true" if reply["retryable"] else "false"
    if timings := slowest(reply):
        found["Server-Timing"] = ", ".join(f"{stage.removesuffix('_ms')};dur={ms:g}" for stage, ms in timings.items())
    return found


def slowest(reply: Mapping[str, object]) -> dict[str, float]:
    """Milliseconds by stage, of the slowest item where the reply has several."""
    results = reply.get("results")
    found: dict[str, float] = {}
    for part in (*(results if isinstance(results, list) else ()), reply):
        for stage, ms in part.get("timings", {}).items():
            found[stage] = max(ms, found.get(stage, 0.0))
    return found
