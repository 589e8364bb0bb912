"""The thin edge: what does the steps of a call, one for threads and one for asyncio. Needs httpx."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx

from heimdex_clip._envelope import Answer
from heimdex_clip._exchange import Call, Steps, T, Work

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=128)
_JSON = {"Content-Type": "application/json"}


class SyncDriver:
    """Blocking; threads may share one."""

    def __init__(self) -> None:
        self._http = httpx.Client(headers=_JSON, limits=_LIMITS)

    def run(self, steps: Steps[T]) -> T:
        """Do the steps until they end. Raises their ClipError."""
        answer: Answer | None = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as stop:
                found: T = stop.value
                return found
            answer = None
            if isinstance(step, Call):
                answer = self._call(step)
            elif isinstance(step, Work):
                step.run()
            else:
                time.sleep(step.seconds)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(self, call: Call) -> Answer:
        give_up_at = time.monotonic() + call.timeout_s
        url, headers = call.target.url + call.path, dict(call.target.headers)
        try:
            with self._http.stream(
                call.method, url, headers=headers, content=call.body, timeout=call.timeout_s
            ) as response:
                body = bytearray()
                # httpx bounds each read but not their sum.
                for part in response.iter_bytes():
                    body += part
                    if time.monotonic() > give_up_at:
                        return Answer(None, fault="ReadTimeout")
                return Answer(response.status_code, bytes(body), _retry_after_s(response))
        except httpx.HTTPError as error:
            return Answer(None, fault=type(error).__name__)


class AsyncDriver:
    """For asyncio. A task that is cancelled leaves its job behind; the platform drops it by the policy sent along."""

    def __init__(self) -> None:
        self._http = httpx.AsyncClient(headers=_JSON, limits=_LIMITS)

    async def run(self, steps: Steps[T]) -> T:
        """Do the steps until they end. Raises their ClipError."""
        answer: Answer | None = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as stop:
                found: T = stop.value
                return found
            answer = None
            if isinstance(step, Call):
                answer = await self._call(step)
            elif isinstance(step, Work):
                await asyncio.to_thread(step.run)
            else:
                await asyncio.sleep(step.seconds)

    async def compute(self, work: Callable[[], T]) -> T:
        """What `work` returns, from a thread. Raises as it does."""
        return await asyncio.to_thread(work)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _call(self, call: Call) -> Answer:
        url, headers = call.target.url + call.path, dict(call.target.headers)
        try:
            async with asyncio.timeout(call.timeout_s):
                response = await self._http.request(
                    call.method, url, headers=headers, content=call.body, timeout=call.timeout_s
                )
        except TimeoutError:
            return Answer(None, fault="ReadTimeout")
        except httpx.HTTPError as error:
            return Answer(None, fault=type(error).__name__)
        return Answer(response.status_code, response.content, _retry_after_s(response))


def _retry_after_s(response: httpx.Response) -> float:
    # The header's other form, a date, is not used by the platform.
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0.0
