"""From settings to an encoder that may serve: what is refused, and what the start-up log says."""

from __future__ import annotations

import platform
import time

from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.errors import ModelError, SettingsError, SetupError
from heimdex_clip.signing import parse_keys
from worker import log
from worker.authentication import AuthPolicy
from worker.download import DownloadPolicy
from worker.settings import Settings


def auth_policy(settings: Settings) -> AuthPolicy:
    """Who may ask. Raises SettingsError without a secret, unless ALLOW_INSECURE_AUTH=1, which is logged."""
    keys = parse_keys(settings.hmac_secrets, settings.hmac_secret)
    if not keys and not settings.allow_insecure_auth:
        raise SettingsError(
            "EMBEDDING_HMAC_SECRET is not set, so nobody could be told from anybody; make one with"
            " `openssl rand -hex 32` and give it to the callers too (ALLOW_INSECURE_AUTH=1 only for experiments)"
        )
    if settings.allow_insecure_auth:
        log.warning(
            "insecure_auth",
            warning="ALLOW_INSECURE_AUTH=1: " + ("unsigned requests are accepted" if not keys else "has no effect"),
        )
    return AuthPolicy(
        keys=keys,
        window_s=settings.auth_window_s,
        audience=settings.audience,
        accept_v1=settings.auth_accept_v1,
        insecure=not keys,
    )


def download_policy(settings: Settings) -> DownloadPolicy:
    """What may be downloaded; anything wider than the default is logged."""
    default = Settings()
    if settings.allowed_private or settings.allowed_ports != default.allowed_ports:
        log.warning(
            "downloads_widened",
            ALLOWED_PRIVATE_CIDRS=[str(network) for network in settings.allowed_private],
            ALLOWED_IMAGE_PORTS=sorted(settings.allowed_ports),
        )
    return DownloadPolicy(
        max_bytes=settings.max_image_bytes,
        timeout_s=settings.download_timeout_s,
        allowed_ports=settings.allowed_ports,
        allowed_private=settings.allowed_private,
        max_connections=settings.max_inflight_items,
    )


def load_encoder(settings: Settings) -> Encoder:
    """Open, check and self-test the model, and log what was found.

    Raises SettingsError, ModelError or LaneUnavailable.
    """
    started = time.perf_counter()
    encoder = open_encoder(
        settings.folder,
        runtime=settings.runtime,
        auto_may_use_cpu=not settings.serverless,
        expected_manifest_sha256=settings.manifest_sha256,
        accept=lambda manifest: check_model(manifest, settings),
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


def facts(encoder: Encoder) -> dict[str, object]:
    """Everything a person wants to know of a worker that started, for the log and `python -m worker info`."""
    manifest, report = encoder.manifest, encoder.report
    return {
        "model": manifest.model,
        "pretrained": manifest.pretrained,
        "untrained": manifest.untrained,
        "model_digest": manifest.model_digest,
        "folder": str(encoder.folder),
        "lane": encoder.lane.name,
        "precision": encoder.lane.precision,
        "runtime": encoder.lane.describe(),
        "python": platform.python_version(),
        "passed_over": report.passed_over,
        "parity": {tower: str(parity) for tower, parity in report.parity.items()},
        "steps_ms": report.steps_ms,
    }
