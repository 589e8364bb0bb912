"""The RunPod door: the SDK's loop before the embedding service. Only this module imports the SDK."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import Any

from heimdex_clip.encoder.encoder import Encoder
from heimdex_clip.errors import SetupError
from worker import log, sdk, startup
from worker.authentication import Authenticator, AuthPolicy
from worker.download import Downloader, DownloadPolicy
from worker.service import EmbeddingService, Reply
from worker.settings import Settings

_DRAIN_POLL_S = 0.05


def run(settings: Settings) -> int:
    """Serve the queue until SIGTERM; returns the process's exit code. Raises SetupError before serving."""
    started = time.perf_counter()
    policies = startup.auth_policy(settings), startup.download_policy(settings)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # nothing is in flight yet
    loading = _load_beside(settings)

    sdk.prepare_import(os.environ)
    import runpod
    from runpod.serverless.modules.worker_state import JobsProgress

    log.event("sdk_imported", version=runpod.__version__, total_ms=_ms_since(started))
    worker = _Worker(settings, policies, loading, jobs_in_sdk=JobsProgress().get_job_count)

    def model_self_test() -> None:
        _await_encoder(loading)
        log.event("ready", total_ms=_ms_since(started))

    runpod.serverless.register_fitness_check(model_self_test)
    try:
        runpod.serverless.start({"handler": worker.handle, "concurrency_modifier": worker.concurrency})
    except asyncio.CancelledError:
        log.event("drained")
    return 0


def _load_beside(settings: Settings) -> Future[Encoder]:
    """Load the model in a thread of its own while the SDK is imported; then the text tower."""
    loading: Future[Encoder] = Future()

    def load() -> None:
        try:
            encoder = startup.load_encoder(settings)
        # Whatever it is, it belongs to the thread that waits for the result.
        except BaseException as error:  # noqa: BLE001
            loading.set_exception(error)
            return
        loading.set_result(encoder)

    threading.Thread(target=load, name="load", daemon=True).start()
    return loading


def _await_encoder(loading: Future[Encoder]) -> Encoder:
    try:
        return loading.result()
    except SetupError as error:
        log.event("cannot_serve", code=error.code, reason=error.message)
        raise


class _Worker:
    """What the SDK calls. Its service is made inside the SDK's loop, at the first call that comes from there."""

    def __init__(
        self,
        settings: Settings,
        policies: tuple[AuthPolicy, DownloadPolicy],
        loading: Future[Encoder],
        *,
        jobs_in_sdk: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._policies = policies
        self._loading = loading
        self._jobs_in_sdk = jobs_in_sdk
        self._service: EmbeddingService | None = None
        self._draining: asyncio.Task[None] | None = None

    def concurrency(self, current: int) -> int:
        """Constant: the SDK counts jobs, our admission counts items and bytes."""
        self._attach()
        return self._settings.concurrency

    async def handle(self, job: dict[str, Any]) -> Reply:
        """One job of the queue."""
        return await self._attach().handle(job.get("input"), job_id=job.get("id"))

    def _attach(self) -> EmbeddingService:
        if self._service is None:
            auth, downloads = self._policies
            encoder = self._loading.result()
            self._service = EmbeddingService(encoder, self._settings, Authenticator(auth), Downloader(downloads))
            self._drain_on(signal.SIGTERM, signal.SIGINT)
            # After the ping process was forked: a fork beside a loading thread could inherit held locks.
            # Not a daemon: the interpreter must not be taken down around a session that is being opened.
            threading.Thread(target=_load_text, args=(encoder,), name="load-text").start()
        return self._service

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
            self._draining = asyncio.get_running_loop().create_task(self._finish())

    async def _finish(self) -> None:
        """End the SDK's loop once every job it has is answered.

        It would itself wait for its long polls to end, up to 90 s, and lose a job that they bring.
        """
        while self._jobs_in_sdk():  # noqa: ASYNC110  # the SDK has no event for it
            await asyncio.sleep(_DRAIN_POLL_S)
        for task in asyncio.all_tasks():
            task.cancel()


def _load_text(encoder: Encoder) -> None:
    try:
        encoder.load_text()
    except SetupError as error:
        log.event("text_tower_failed", code=error.code, reason=error.message)
        return
    log.event(
        "text_ready",
        parity=str(encoder.report.parity["text"]),
        total_ms=encoder.report.steps_ms["text_tower"],
    )


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
