"""The HTTP door: a listener that is up before the model, one service, and a drain at the end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import uvicorn

from heimdex_clip.encoder.encoder import Encoder
from heimdex_clip.errors import ClipError, SettingsError, SetupError
from worker import log, policies, startup
from worker.authentication import Authenticator, AuthPolicy
from worker.download import Downloader
from worker.http.app import build_app
from worker.http.door import Door, State
from worker.leaving import EXIT_LOST
from worker.policies import DownloadPolicy
from worker.service import EmbeddingService
from worker.settings import Settings

_BACKLOG = 2048


def run(settings: Settings, load: Callable[[Settings], Encoder] = startup.load_encoder) -> int:
    """Serve HTTP until SIGTERM or SIGINT, or until the device is lost; returns the process's exit code.

    `load` opens the model. Raises SetupError when it cannot serve.
    """
    rules = policies.auth_policy(settings), policies.download_policy(settings)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(one) for one in listen(settings)]
        lost = asyncio.run(_serve(settings, load, *rules, sockets))
    return EXIT_LOST if lost else 0


def listen(settings: Settings) -> Iterator[socket.socket]:
    """Bind PORT, and PORT_HEALTH where it differs. Raises SettingsError naming the variable."""
    yield _bind("PORT", settings.host, settings.port)
    if settings.port_health not in (0, settings.port):
        yield _bind("PORT_HEALTH", settings.host, settings.port_health)


def _bind(variable: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        # Connections inherit it. asyncio sets it on none whose socket names no protocol, as these, and then each
        # answer's body waits 40 ms for the acknowledgement of its head.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(f"{variable}={port}: cannot listen on HOST={host!r} ({reason})") from None


class Server(uvicorn.Server):
    """uvicorn without its signal handling, which ends the process by the signal itself after a clean drain."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield


def make_server(door: Door) -> Server:
    """The server of one door; `serve(sockets=...)` runs it."""
    return Server(
        uvicorn.Config(
            build_app(door, version=_version()),
            lifespan="off",
            ws="none",
            access_log=False,  # the service logs each job, with what matters
            log_config=_log_config(),
            proxy_headers=False,  # who may see the playground depends on the true peer
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=75,  # longer than load balancers keep theirs: they must be the ones to close
            # No job outlives its deadline; the rest is for sending the answer.
            timeout_graceful_shutdown=math.ceil(door.settings.job_timeout_s) + 5,
        )
    )


async def _serve(
    settings: Settings,
    load: Callable[[Settings], Encoder],
    auth: AuthPolicy,
    downloads: DownloadPolicy,
    sockets: list[socket.socket],
) -> bool:
    """Whether the device was lost, so that the platform should replace this worker."""
    door = Door(settings)
    server = make_server(door)
    lost: list[str] = []

    def stop() -> None:
        if server.should_exit:
            server.force_exit = True  # asked twice
            return
        log.event("draining", state=door.state)
        opening.cancel()
        door.drain()
        server.should_exit = True

    def lose(reason: str) -> None:
        lost.append(reason)
        door.lose(reason)
        server.should_exit = True  # once what is under way is answered

    opening = asyncio.create_task(_open(door, load, auth, downloads, lose))
    opening.add_done_callback(lambda task: _stop_on_failure(task, door, server))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    log.event("listening", ports=[one.getsockname()[1] for one in sockets])
    await server.serve(sockets)
    opening.cancel()
    (outcome,) = await asyncio.gather(opening, return_exceptions=True)
    await door.close()
    log.event("stopped")
    if isinstance(outcome, Exception):
        raise outcome
    return bool(lost)


def _stop_on_failure(opening: asyncio.Task[None], door: Door, server: Server) -> None:
    if not opening.cancelled() and opening.exception() is not None:
        door.state = State.LOST  # main says why
        server.should_exit = True


async def _open(
    door: Door,
    load: Callable[[Settings], Encoder],
    auth: AuthPolicy,
    downloads: DownloadPolicy,
    lose: Callable[[str], None],
) -> None:
    """Load the model in a thread and open the door to images, then load the text tower."""
    settings, loop = door.settings, asyncio.get_running_loop()
    try:
        encoder = await asyncio.to_thread(load, settings)
    except ClipError:
        raise
    # Whatever else it is must not reach a terminal as a traceback.
    except Exception as error:
        raise SetupError(f"the model could not be loaded ({log.cause(error)})") from error
    door.open(EmbeddingService(encoder, settings, Authenticator(auth), Downloader(downloads), door.metrics))
    encoder.watch(lambda reason: loop.call_soon_threadsafe(lose, reason))
    log.event("ready")
    await asyncio.to_thread(startup.load_text, encoder)


def _version() -> str:
    try:
        return version("heimdex-clip")
    except PackageNotFoundError:
        return "0"  # run from a checkout that is not installed


def _log_config() -> dict[str, Any]:
    """uvicorn's own complaints in the form of all other lines, which leaves tracebacks out."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "worker.log.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {"uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False}},
    }
