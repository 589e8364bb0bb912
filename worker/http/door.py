"""What every route shares: the service once there is one, and the state that health checks are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from enum import StrEnum
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from heimdex_clip.errors import Overloaded
from worker import log
from worker.http.body import Bodies
from worker.http.replies import Refusal
from worker.metrics import Metrics
from worker.service import EmbeddingService, Reply
from worker.settings import Settings


class State(StrEnum):
    """Of the server: the listener is up in all of them."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    LOST = "lost"


_REASONS = {
    State.LOADING: "The model is loading",
    State.DRAINING: "The worker is shutting down",
    State.LOST: "The worker lost its lane",
}


class Door:
    """One server's state. All of it belongs to the event loop's thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.bodies = Bodies(max_held_bytes=settings.max_inflight_bytes)
        self.state = State.LOADING
        self._service: EmbeddingService | None = None
        self._started = time.monotonic()

    def open(self, service: EmbeddingService) -> None:
        """Serve from now on."""
        self._service = service
        self.metrics.watch(service)
        self.state = State.READY

    def lose(self, reason: str) -> None:
        """Nothing more can be encoded here: /ping tells so, and requests are sent elsewhere."""
        log.warning("lane_lost", reason=reason)
        self.state = State.LOST

    def drain(self) -> None:
        """Refuse what comes from now on; what is under way goes on."""
        self.state = State.DRAINING
        if self._service is not None:
            self._service.drain()

    async def close(self) -> None:
        """Stop the service, once nothing is under way."""
        if self._service is not None:
            await self._service.close()

    @property
    def service(self) -> EmbeddingService:
        """The service. Raises Refusal (503) unless it may be used now."""
        if self._service is None or self.state is not State.READY:
            raise Refusal(Overloaded(_REASONS[self.state]), HTTPStatus.SERVICE_UNAVAILABLE)
        return self._service

    def health(self) -> Reply:
        """State, uptime and queue depth, and what is served once that is known."""
        found: Reply = {"state": self.state, "uptime_s": round(time.monotonic() - self._started, 1)}
        if self._service is not None:
            found |= self._service.info()
            found |= {
                "text_ready": self._service.encoder.text_ready,
                "queued_items": self._service.admission.queued,
                "running_items": self._service.admission.running,
            }
        return found

    async def unless_gone(self, request: Request, answer: Coroutine[object, object, Reply]) -> Reply:
        """The answer; a client that hangs up cancels it (ClientDisconnect). The body must have been read."""
        working = asyncio.create_task(answer)
        hung_up = asyncio.create_task(_hung_up(request))
        try:
            await asyncio.wait({working, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise ClientDisconnect
        finally:
            working.cancel()
            hung_up.cancel()
            await asyncio.gather(working, hung_up, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
