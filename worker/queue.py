"""What the SDK's loop calls: the service behind RunPod's queue, and its drain at the end."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import Any

from heimdex_clip.encoder.encoder import Encoder
from worker import log, startup
from worker.authentication import Authenticator, AuthPolicy
from worker.download import Downloader
from worker.leaving import EXIT_LOST
from worker.policies import DownloadPolicy
from worker.service import EmbeddingService, Reply
from worker.settings import Settings

_DRAIN_POLL_S = 0.05
_TEXT_TOWER_AFTER_S = 1.0


class QueueWorker:
    """The handler of the SDK. Its service is made inside the SDK's loop, at the first call that comes from there.

    `jobs_in_sdk` tells how many jobs the SDK has taken and not yet answered.
    """

    def __init__(
        self,
        settings: Settings,
        auth: AuthPolicy,
        downloads: DownloadPolicy,
        loading: Future[Encoder],
        *,
        jobs_in_sdk: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._auth = auth
        self._downloads = downloads
        self._loading = loading
        self._jobs_in_sdk = jobs_in_sdk
        self._service: EmbeddingService | None = None
        self._draining: asyncio.Task[None] | None = None
        self.exit_code = 0
        """Of the process, once the SDK's loop has ended: not 0 when the platform should replace it."""

    def concurrency(self, current: int) -> int:
        """Constant: the SDK counts jobs, our admission counts items and bytes."""
        self._attach()
        return self._settings.concurrency

    async def handle(self, job: dict[str, Any]) -> Reply:
        """One job of the queue."""
        return await self._attach().handle(job.get("input"), job_id=job.get("id"))

    def _attach(self) -> EmbeddingService:
        if self._service is None:
            encoder = self._loading.result()
            self._service = EmbeddingService(
                encoder, self._settings, Authenticator(self._auth), Downloader(self._downloads)
            )
            self._drain_on(signal.SIGTERM, signal.SIGINT)
            loop = asyncio.get_running_loop()
            encoder.watch(lambda reason: loop.call_soon_threadsafe(self._lose, reason))
            # The job that woke this worker goes first; a text that cannot wait loads its tower itself.
            loop.call_later(_TEXT_TOWER_AFTER_S, _load_text_beside, encoder)
        return self._service

    def _lose(self, reason: str) -> None:
        """Nothing more can be encoded here: answer what was taken, take no more, and end."""
        log.warning("lane_lost", reason=reason)
        self.exit_code = EXIT_LOST
        # The way of a shutdown, for the SDK too.
        signal.raise_signal(signal.SIGTERM)

    def _drain_on(self, *signals: signal.Signals) -> None:
        """Chain our own drain before the SDK's handler, which only stops taking jobs."""
        loop = asyncio.get_running_loop()
        for number in signals:
            sdk_handler = signal.getsignal(number)

            def stop(signum: int, frame: FrameType | None, sdk_handler: Any = sdk_handler) -> None:
                loop.call_soon_threadsafe(self._drain)
                if callable(sdk_handler):
                    sdk_handler(signum, frame)

            signal.signal(number, stop)

    def _drain(self) -> None:
        if self._draining is None and self._service is not None:
            log.event("draining", running=self._service.admission.running)
            self._service.drain()
            self._draining = asyncio.get_running_loop().create_task(self._finish(self._service))

    async def _finish(self, service: EmbeddingService) -> None:
        """Close the service and end the SDK's loop, once every job it has is answered.

        It would itself wait for its long polls to end, up to 90 s, and lose a job that they bring.
        """
        while self._jobs_in_sdk():  # noqa: ASYNC110  # the SDK has no event for it
            await asyncio.sleep(_DRAIN_POLL_S)
        await service.close()
        for task in asyncio.all_tasks():
            task.cancel()


def _load_text_beside(encoder: Encoder) -> None:
    # Not a daemon: the interpreter must not be taken down around a session that is being opened.
    threading.Thread(target=startup.load_text, args=(encoder,), name="load-text").start()
