"""RunPod's REST API v2, as far as an endpoint needs it. docs/deployment.md says where each shape was found."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from deploy.errors import ApiError, DeployError

BASE_URL = "https://api.runpod.io"
JOBS_URL = "https://api.runpod.ai/v2"
SERVERLESS = "/v2/serverless"
_ATTEMPTS = 4
_MAX_WAIT_S = 30.0
_MAX_DETAIL_CHARS = 300
# The platform's own door turns away some libraries' default names.
_USER_AGENT = "heimdex-clip-deploy"


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the API, before it is sent. `path` begins with a slash and holds any query."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a worker's log. `source` is "container" or "system", `ts` RFC 3339 or empty."""

    source: str
    ts: str
    line: str


def list_endpoints() -> Request:
    """Every endpoint of the account."""
    return Request("GET", SERVERLESS)


def create_endpoint(body: Mapping[str, Any]) -> Request:
    """A new endpoint."""
    return Request("POST", SERVERLESS, body)


def update_endpoint(endpoint_id: str, body: Mapping[str, Any]) -> Request:
    """Change the fields in `body`, leave the others."""
    return Request("PATCH", _path(endpoint_id), body)


def delete_endpoint(endpoint_id: str) -> Request:
    """Delete the endpoint with its workers and queue."""
    return Request("DELETE", _path(endpoint_id))


def list_workers(endpoint_id: str) -> Request:
    """The active workers and their count by status."""
    return Request("GET", f"{_path(endpoint_id)}/workers")


def list_releases(endpoint_id: str) -> Request:
    """The endpoint's past configurations, newest first, each with what it changed."""
    return Request("GET", f"{_path(endpoint_id)}/releases")


def billing(endpoint_id: str, days: int) -> Request:
    """What the endpoint cost over the last `days`."""
    return Request("GET", f"/v2/billing/serverless?bucketSize=day&lastN={days}&serverlessId={quote(endpoint_id)}")


class Api:
    """A client with the account's key. `secrets` are texts that no error may show; the key is among them.

    Refuses to send the key in the clear to anything but loopback. Raises DeployError for a bad key or URL.
    """

    def __init__(
        self,
        key: str,
        *,
        base_url: str = BASE_URL,
        jobs_url: str = JOBS_URL,
        timeout_s: float = 30.0,
        secrets: tuple[str, ...] = (),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not re.fullmatch(r"[\x21-\x7e]+", key, re.ASCII):
            raise DeployError("RUNPOD_API_KEY must be printable ASCII without spaces, and not empty")
        self._jobs_url = _checked(jobs_url)
        self._secrets = tuple(filter(None, (key, *secrets)))
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {key}", "User-Agent": _USER_AGENT}
        self._http = httpx.Client(base_url=_checked(base_url), headers=headers, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def send(self, request: Request) -> dict[str, Any]:
        """The answer's object, empty for a 204.

        A 429 is sent again when the platform says, a 5xx or a broken connection only where that changes
        nothing. Raises ApiError with the platform's own reason.
        """
        return self._send(request.method, request.path, request.body)

    def health(self, endpoint_id: str) -> dict[str, Any]:
        """The endpoint's job and worker counts, from the job API."""
        return self._send("GET", f"{self._jobs_url}/{quote(endpoint_id)}/health", None)

    def logs(self, endpoint_id: str, worker_id: str, *, tail: int, quiet_s: float, most_s: float) -> Iterator[LogLine]:
        """A worker's last `tail` lines, then new ones, until none came for `quiet_s` or `most_s` are over.

        Either may be infinite. Raises ApiError.
        """
        path = f"{_path(endpoint_id)}/workers/{quote(worker_id, safe='')}/logs?tail={tail}"
        timeout = httpx.Timeout(30.0, read=None if math.isinf(quiet_s) else quiet_s)
        started = time.monotonic()
        try:
            with self._http.stream("GET", path, timeout=timeout, headers={"Accept": "text/event-stream"}) as reply:
                if reply.is_error:
                    reply.read()
                    raise self._refusal(reply)
                for event in reply.iter_lines():
                    if line := _log_line(event):
                        yield line
                    # A busy worker is never quiet.
                    if time.monotonic() - started > most_s:
                        return
        except httpx.ReadTimeout:
            return
        except httpx.HTTPError as error:
            raise ApiError(f"the log broke off: {type(error).__name__}", status=0, retryable=True) from None

    def _send(self, method: str, url: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                reply = self._http.request(method, url, json=body)
            except httpx.HTTPError as error:
                if method != "GET" or attempt == _ATTEMPTS:
                    what = f"{method} {urlsplit(url).path}: no answer ({type(error).__name__})"
                    raise ApiError(what, status=0, retryable=True) from None
                self._sleep(2.0 ** (attempt - 1))
                continue
            again = reply.status_code == 429 or (reply.is_server_error and method == "GET")
            if not again or attempt == _ATTEMPTS:
                break
            self._sleep(_retry_after_s(reply, default=2.0 ** (attempt - 1)))
        if not reply.is_success:
            raise self._refusal(reply)
        if reply.status_code == 204:
            return {}
        try:
            answer = reply.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ApiError(f"{method} {urlsplit(url).path}: the answer is no JSON object", status=reply.status_code)
        return answer

    def _refusal(self, reply: httpx.Response) -> ApiError:
        """The platform's reason, in one line and without any secret that it might quote."""
        try:
            problem = reply.json()
            errors = problem.get("errors") or []
            detail = "; ".join(map(str, [problem.get("detail") or problem.get("title") or "", *errors]))
        except (ValueError, AttributeError, TypeError):
            detail = ""
        for secret in self._secrets:
            detail = detail.replace(secret, "****")
        line = " ".join(detail.split())[:_MAX_DETAIL_CHARS] or "no reason given"
        hint = "; check RUNPOD_API_KEY and its permissions" if reply.status_code in (401, 403) else ""
        where = f"{reply.request.method} {reply.request.url.path}"
        return ApiError(f"{where}: {reply.status_code}: {line}{hint}", status=reply.status_code)


def rows(answer: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of objects that an answer holds under `key`. Raises ApiError when it holds none."""
    found = answer.get(key)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ApiError(f"the platform's answer holds no list of {key}", status=200)
    return found


def _path(endpoint_id: str) -> str:
    return f"{SERVERLESS}/{quote(endpoint_id, safe='{}')}"


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")):
        raise DeployError(f"{url!r} must be an https URL: the API key goes there")
    return url.rstrip("/")


def _retry_after_s(reply: httpx.Response, *, default: float) -> float:
    value = reply.headers.get("Retry-After", "")
    return min(float(value), _MAX_WAIT_S) if re.fullmatch(r"[0-9]{1,6}", value) else default


def _log_line(event: str) -> LogLine | None:
    """One line of the event stream; None for ids, comments and anything else."""
    if not event.startswith("data:"):
        return None
    try:
        data = json.loads(event.removeprefix("data:"))
        return LogLine(str(data.get("source", "")), str(data.get("ts", "")), str(data.get("line", "")))
    except (ValueError, AttributeError):
        return None
