"""Clients of a RunPod endpoint that serves the worker: one for threads, one for asyncio, the same in all else.

Both sign every attempt anew, retry what can be cured (429, 5xx, connection errors, a lost job, a full worker)
under one deadline, and raise only `ClipError`. No secret is in any exception or `repr`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx

from heimdex_clip._endpoint import DEFAULT_BASE_URL, Endpoint, T, Task
from heimdex_clip._envelope import Answer
from heimdex_clip._exchange import Call
from heimdex_clip.contract import Embedding
from heimdex_clip.errors import ClipError

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=128)


class ClipClient:
    """Blocking client; threads may share one. Close it, or use it in a ``with`` statement.

    `endpoint_id` and `api_key` are RunPod's, `secret` is the worker's, under the name `kid` ("default").
    `timeout_s` is the deadline of a call, all retries included; `attempt_timeout_s` is how long a worker may
    have a job before it is taken for lost and submitted again. `auth_version` 1 signs only the image's URL,
    for workers that know no other. Raises SettingsError for a value that cannot be used.
    """

    def __init__(
        self,
        endpoint_id: str,
        api_key: str,
        secret: str,
        *,
        kid: str | None = None,
        base_url: str = DEFAULT_BASE_URL,
        timeout_s: float = 60.0,
        attempt_timeout_s: float = 20.0,
        auth_version: int = 2,
    ) -> None:
        self._endpoint = Endpoint.checked(
            endpoint_id,
            secret,
            api_key=api_key,
            kid=kid,
            base_url=base_url,
            timeout_s=timeout_s,
            attempt_timeout_s=attempt_timeout_s,
            auth_version=auth_version,
            clock=time.monotonic,
            spread=_spread,
        )
        self._http = httpx.Client(headers=_headers(api_key), limits=_LIMITS)

    def embed_image(self, url: str, *, request_id: str | None = None, normalize: bool = True) -> Embedding:
        """Embed the image at `url`, which the worker downloads.

        `request_id` (a random one when None) comes back in the embedding and stands in the worker's log.
        Raises the worker's error by its class; EndpointUnauthorized, EndpointUnavailable or BadReply for the
        way there; DeadlineExceeded, up to 2 s after the deadline, since the job is cancelled first.
        """
        return self._run(self._endpoint.embed({"image_url": url}, request_id=request_id, normalize=normalize))

    def embed_text(self, text: str, *, request_id: str | None = None, normalize: bool = True) -> Embedding:
        """Embed a text into the same space; needs `auth_version` 2. Raises as `embed_image` does."""
        return self._run(self._endpoint.embed({"text": text}, request_id=request_id, normalize=normalize))

    def embed_images(self, urls: Sequence[str], *, normalize: bool = True) -> list[Embedding | ClipError]:
        """Embed several images in one job, in order: for each its embedding, or its own error.

        Needs `auth_version` 2. Raises as `embed_image` does where the whole job fails, and InvalidRequest
        with the number that fits when the request is too large.
        """
        return self._run(self._endpoint.embed_batch([{"image_url": url} for url in urls], normalize=normalize))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.url!r})"

    def _run(self, task: Task[T]) -> T:
        answer: Answer | None = None
        while True:
            try:
                step = task.exchange.send(answer)
            except StopIteration as stop:
                output = stop.value
                break
            if isinstance(step, Call):
                answer = self._call(step)
            else:
                time.sleep(step.seconds)
                answer = None
        return task.read(output)

    def _call(self, call: Call) -> Answer:
        give_up_at = time.monotonic() + call.timeout_s
        url = self._endpoint.url + call.path
        try:
            with self._http.stream(call.method, url, content=call.body, timeout=call.timeout_s) as response:
                body = bytearray()
                # httpx bounds each read but not their sum.
                for part in response.iter_bytes():
                    body += part
                    if time.monotonic() > give_up_at:
                        return Answer(None, fault="ReadTimeout")
                return Answer(response.status_code, bytes(body), _retry_after_s(response))
        except httpx.HTTPError as error:
            return Answer(None, fault=type(error).__name__)


class AsyncClipClient:
    """`ClipClient` for asyncio: the same arguments, methods and errors. Close it, or use ``async with``.

    A task that is cancelled leaves its job behind; the platform drops it by the policy sent along.
    """

    def __init__(
        self,
        endpoint_id: str,
        api_key: str,
        secret: str,
        *,
        kid: str | None = None,
        base_url: str = DEFAULT_BASE_URL,
        timeout_s: float = 60.0,
        attempt_timeout_s: float = 20.0,
        auth_version: int = 2,
    ) -> None:
        self._endpoint = Endpoint.checked(
            endpoint_id,
            secret,
            api_key=api_key,
            kid=kid,
            base_url=base_url,
            timeout_s=timeout_s,
            attempt_timeout_s=attempt_timeout_s,
            auth_version=auth_version,
            clock=time.monotonic,
            spread=_spread,
        )
        self._http = httpx.AsyncClient(headers=_headers(api_key), limits=_LIMITS)

    async def embed_image(self, url: str, *, request_id: str | None = None, normalize: bool = True) -> Embedding:
        """See `ClipClient.embed_image`."""
        return await self._run(self._endpoint.embed({"image_url": url}, request_id=request_id, normalize=normalize))

    async def embed_text(self, text: str, *, request_id: str | None = None, normalize: bool = True) -> Embedding:
        """See `ClipClient.embed_text`."""
        return await self._run(self._endpoint.embed({"text": text}, request_id=request_id, normalize=normalize))

    async def embed_images(self, urls: Sequence[str], *, normalize: bool = True) -> list[Embedding | ClipError]:
        """See `ClipClient.embed_images`."""
        return await self._run(self._endpoint.embed_batch([{"image_url": url} for url in urls], normalize=normalize))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.url!r})"

    async def _run(self, task: Task[T]) -> T:
        answer: Answer | None = None
        while True:
            try:
                step = task.exchange.send(answer)
            except StopIteration as stop:
                output = stop.value
                break
            if isinstance(step, Call):
                answer = await self._call(step)
            else:
                await asyncio.sleep(step.seconds)
                answer = None
        return task.read(output)

    async def _call(self, call: Call) -> Answer:
        url = self._endpoint.url + call.path
        try:
            async with asyncio.timeout(call.timeout_s):
                response = await self._http.request(call.method, url, content=call.body, timeout=call.timeout_s)
        except TimeoutError:
            return Answer(None, fault="ReadTimeout")
        except httpx.HTTPError as error:
            return Answer(None, fault=type(error).__name__)
        return Answer(response.status_code, response.content, _retry_after_s(response))


def _headers(api_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}


def _retry_after_s(response: httpx.Response) -> float:
    # The header's other form, a date, is not used by the platform.
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0.0


def _spread(upper_s: float) -> float:
    """A random pause, so that callers that failed together don't come back together."""
    return random.uniform(upper_s / 2, upper_s)  # noqa: S311  # spreads load, guards nothing
