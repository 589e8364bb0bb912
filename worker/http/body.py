"""Reading a request's JSON body: within a size, a time and the memory that all bodies share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.requests import Request

from heimdex_clip.errors import DeadlineExceeded, InvalidRequest, Overloaded
from worker.http.replies import Refusal

MAX_BODY_BYTES = 20 << 20
"""As much as RunPod takes on /runsync."""
BODY_TIMEOUT_S = 60.0


class Bodies:
    """Reads bodies while all of them together, until answered, hold at most `max_held_bytes`."""

    def __init__(
        self, *, max_held_bytes: int, max_bytes: int = MAX_BODY_BYTES, timeout_s: float = BODY_TIMEOUT_S
    ) -> None:
        self._max_held_bytes = max_held_bytes
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._held_bytes = 0

    @asynccontextmanager
    async def json(self, request: Request) -> AsyncIterator[object]:
        """The parsed body, counted against the shared memory until the block ends. Raises Refusal."""
        if not _is_json(request.headers.get("content-type", "")):
            # A browser's plain form can't send this type to another origin without asking first.
            raise Refusal(InvalidRequest("the content type must be application/json"))
        self._limit(int(request.headers.get("content-length", "0")))
        held = 0
        data = bytearray()
        try:
            try:
                async with asyncio.timeout(self._timeout_s):
                    async for chunk in request.stream():
                        self._limit(held + len(chunk))
                        self._reserve(len(chunk))
                        held += len(chunk)
                        data += chunk
            except TimeoutError:
                late = DeadlineExceeded(f"The body did not arrive within {self._timeout_s:g} s")
                raise Refusal(late, HTTPStatus.REQUEST_TIMEOUT) from None
            body = _parse(data)
            data.clear()
            yield body
        finally:
            self._held_bytes -= held

    def _limit(self, size: int) -> None:
        if size > self._max_bytes:
            error = InvalidRequest(f"The body has more than {self._max_bytes} bytes")
            raise Refusal(error, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def _reserve(self, size: int) -> None:
        if self._held_bytes + size > self._max_held_bytes:
            raise Refusal(Overloaded("The worker holds too many request bodies already"))
        self._held_bytes += size


def _is_json(content_type: str) -> bool:
    kind, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    return kind.strip().lower() == "application/json" and charset in ("", "utf-8")


def _parse(data: bytearray) -> object:
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # json's own message could quote the body.
        raise Refusal(InvalidRequest("the body is not JSON in UTF-8")) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
