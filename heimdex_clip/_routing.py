"""From settings to a router: the one place where backends are chosen and put together."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

from heimdex_clip._canary import Canary, Driver
from heimdex_clip._router import Router
from heimdex_clip._settings import ClientSettings
from heimdex_clip.backends.base import Backend
from heimdex_clip.backends.http import Http
from heimdex_clip.backends.local import Local
from heimdex_clip.backends.runpod import RunPod

if TYPE_CHECKING:
    from heimdex_clip.backends.images import DownloadRules

# Not the `random` module's own generator: a service's seeded sequence stays its own, and forked processes part.
_RANDOM = random.SystemRandom()


def router(settings: ClientSettings) -> Router:
    """Raises SettingsError for what cannot be used."""
    canary: Canary | None = None
    if settings.canary_endpoint_id and settings.canary_percent and settings.backend == "runpod":
        canary = Canary(
            _runpod(settings, settings.canary_endpoint_id),
            _new_driver,
            percent=settings.canary_percent,
            draw=lambda: _RANDOM.uniform(0, 100),
        )
    return Router(
        _backend(settings.backend, settings),
        None if settings.fallback == "off" else _backend(settings.fallback, settings),
        settings.expected_digest,
        canary,
    )


def spread(upper_s: float) -> float:
    """A random pause, so that callers that failed together don't come back together."""
    return _RANDOM.uniform(upper_s / 2, upper_s)


def _backend(name: str, settings: ClientSettings) -> Backend:
    if name == "local":
        return Local(Path(settings.model_dir), lambda: _rules(settings))
    if name == "http":
        return Http.checked(
            settings.http_url,
            settings.secret,
            audience=settings.http_audience,
            kid=settings.kid,
            timeout_s=settings.timeout_s,
            attempt_timeout_s=settings.attempt_timeout_s,
            clock=time.monotonic,
            spread=spread,
        )
    return _runpod(settings, settings.endpoint_id)


def _runpod(settings: ClientSettings, endpoint_id: str) -> RunPod:
    return RunPod.checked(
        endpoint_id,
        settings.secret,
        api_key=settings.api_key,
        kid=settings.kid,
        base_url=settings.base_url,
        timeout_s=settings.timeout_s,
        attempt_timeout_s=settings.attempt_timeout_s,
        auth_version=2,
        clock=time.monotonic,
        spread=spread,
    )


def _rules(settings: ClientSettings) -> DownloadRules:
    from heimdex_clip.backends.images import DownloadRules

    return DownloadRules(settings.allowed_ports, settings.allowed_private, settings.allowed_hosts)


def _new_driver() -> Driver:
    from heimdex_clip._drivers import SyncDriver

    return SyncDriver()
