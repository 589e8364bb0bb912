"""The RunPod door: the SDK's loop before the embedding service. Only this module imports the SDK."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from heimdex_clip.errors import SetupError
from worker import log, policies, sdk
from worker.leaving import EXIT_LOST
from worker.settings import Settings

if TYPE_CHECKING:
    from heimdex_clip.encoder.encoder import Encoder


def run(settings: Settings, load: Callable[[Settings], Encoder] | None = None) -> int:
    """Serve the queue until SIGTERM or until the device is lost; returns the process's exit code.

    `load` opens the model, None for `startup.load_encoder`. Raises SetupError before serving.

    The imports stand in here, in this order, for the cold start: the model is loaded in a thread beside the
    import of the SDK, which is as long, and whose packages are most of the service's own.
    """
    started = time.perf_counter()
    rules = policies.auth_policy(settings), policies.download_policy(settings)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # nothing is in flight yet
    loading = _load_beside(settings, load)

    sdk.survive_lost_output()
    sdk.prepare_import(os.environ)
    import runpod
    from runpod.serverless.modules.rp_scale import JobScaler
    from runpod.serverless.modules.worker_state import JobsProgress

    log.event("sdk_imported", version=runpod.__version__, total_ms=_ms_since(started))
    from worker.queue import QueueWorker

    worker = QueueWorker(settings, *rules, loading, jobs_in_sdk=JobsProgress().get_job_count)

    def model_self_test() -> None:
        _await_encoder(loading)
        log.event("ready", total_ms=_ms_since(started))

    runpod.serverless.register_fitness_check(model_self_test)
    sdk.use_uvloop()
    sdk.end_together(JobScaler)
    try:
        runpod.serverless.start({"handler": worker.handle, "concurrency_modifier": worker.concurrency})
    except asyncio.CancelledError:
        log.event("drained")
    # A fault of the SDK's own loop; it would end in a traceback on standard error.
    except Exception as error:  # noqa: BLE001
        log.warning("sdk_failed", cause=log.cause(error))
        return EXIT_LOST
    return worker.exit_code


def _load_beside(settings: Settings, load: Callable[[Settings], Encoder] | None) -> Future[Encoder]:
    """Load the model in a thread of its own."""
    # Imported before the thread starts: two threads that import share one interpreter lock, and opening the
    # model, which does not need it, would begin later.
    from worker import startup

    loading: Future[Encoder] = Future()

    def load_here() -> None:
        try:
            loading.set_result((load or startup.load_encoder)(settings))
        # Whatever it is, it belongs to the thread that waits for the result.
        except BaseException as error:  # noqa: BLE001
            loading.set_exception(error)

    threading.Thread(target=load_here, name="load", daemon=True).start()
    return loading


def _await_encoder(loading: Future[Encoder]) -> None:
    try:
        loading.result()
    except SetupError as error:
        log.event("cannot_serve", code=error.code, reason=error.message)
        raise


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
