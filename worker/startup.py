"""From settings to an encoder that may serve: what is refused, and what the start-up log says."""

from __future__ import annotations

import platform
import time
from pathlib import Path

from heimdex_clip.encoder import runtimes
from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.routes import Route, fastest
from heimdex_clip.errors import ModelError, SetupError
from worker import log
from worker.settings import Settings


def load_encoder(settings: Settings) -> Encoder:
    """Open, check and self-test the model, and log what was found.

    Raises SettingsError, ModelError or LaneUnavailable.
    """
    started = time.perf_counter()
    warn_of_slow(fastest())
    encoder = open_encoder(
        settings.folder,
        runtime=settings.runtime,
        auto_may_use_cpu=not settings.serverless,
        expected_manifest_sha256=settings.manifest_sha256,
        accept=lambda manifest: check_model(manifest, settings),
        lanes=runtimes.lanes(engine_cache=Path(settings.engine_cache) if settings.engine_cache else None),
    )
    log.event("model_ready", **facts(encoder), total_ms=round((time.perf_counter() - started) * 1000, 1))
    return encoder


def load_text(encoder: Encoder) -> None:
    """Load the text tower beside the images that are served already, and log how it went; never raises."""
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


def check_model(manifest: Manifest, settings: Settings) -> None:
    """Refuse a model other than the one asked for, and meaningless weights in production."""
    for variable, asked, found in (
        ("CLIP_MODEL_NAME", settings.model_name, manifest.model),
        ("CLIP_PRETRAINED", settings.pretrained, manifest.pretrained),
    ):
        if asked and asked != found:
            raise ModelError(f"{variable}={asked!r}, but {settings.folder} holds {found!r}")
    if manifest.untrained:
        if settings.serverless and not settings.allow_untrained:
            raise ModelError(
                f"{settings.folder} holds untrained weights, whose vectors carry no meaning;"
                " a serverless worker serves them only with ALLOW_UNTRAINED_MODEL=1"
            )
        log.warning(
            "untrained_model",
            warning="untrained weights: the vectors carry no meaning",
        )


def warn_of_slow(route: Route) -> None:
    """Say why pictures are not read the fastest way, if so: their vectors are the same, their price is not."""
    if route.lacking:
        log.warning("slow_preprocessing", decoder=route.decoder, resampler=route.resampler, reasons=route.lacking)


def facts(encoder: Encoder) -> dict[str, object]:
    """Everything a person wants to know of a worker that started, for the log and `python -m worker info`."""
    manifest, report, route = encoder.manifest, encoder.report, fastest()
    return {
        "model": manifest.model,
        "pretrained": manifest.pretrained,
        "untrained": manifest.untrained,
        "model_digest": manifest.model_digest,
        "folder": str(encoder.folder),
        "lane": encoder.lane.name,
        "precision": encoder.lane.precision,
        "runtime": encoder.lane.describe(),
        "decoder": route.decoder,
        "resampler": route.resampler,
        "python": platform.python_version(),
        "passed_over": report.passed_over,
        "parity": {tower: str(parity) for tower, parity in report.parity.items()},
        "steps_ms": report.steps_ms,
    }
