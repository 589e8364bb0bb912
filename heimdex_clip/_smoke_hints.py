"""What to check when a step of the smoke test fails. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from heimdex_clip.errors import ClipError
from heimdex_clip.results import Health

_BY_CODE: Mapping[str, str] = {
    "SETTINGS": "what it names",
    "AUTH_FAILED": "secret mismatch: EMBEDDING_HMAC_SECRET must be the worker's, and the audience its endpoint's id",
    "AUTH_EXPIRED": "this machine's clock, and how long jobs wait in the queue",
    "ENDPOINT_UNAUTHORIZED": "RUNPOD_API_KEY: revoked, or of an account without this endpoint",
    "BAD_REPLY": "whether another worker than this one is behind the endpoint",
    "DIGEST_MISMATCH": "EXPECTED_MODEL_DIGEST, and which image the endpoint runs",
    "MODEL_MISMATCH": "which model the endpoint serves",
    "URL_REFUSED": "the image's URL must be public, on a port in the worker's ALLOWED_IMAGE_PORTS",
    "DOWNLOAD_FAILED": "whether the signed URL can be opened from elsewhere",
    "DOWNLOAD_TIMEOUT": "whether the signed URL can be opened from elsewhere",
    "IMAGE_INVALID": "whether the URL gives an image",
    "INFERENCE_FAILED": "the worker's log, and its self-test at the start",
    "INTERNAL": "the worker's log",
    "OVERLOADED": "the number of workers: all are full",
    "MODEL": "CLIP_MODEL_DIR; python -m heimdex_clip fetch-model brings a model",
    "LANE_UNAVAILABLE": "whether heimdex-clip[cpu] is installed",
    "STORAGE": "SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY, and that the bucket exists (--bucket)",
}
_STANDING_BY = ("idle", "ready", "running")


def hint(error: ClipError, health: Health | None) -> str:
    """What to check, from the error and from what the endpoint told of its workers (None: it told nothing)."""
    if error.code == "ENDPOINT_UNAVAILABLE" and not error.retryable:
        return "RUNPOD_CLIP_ENDPOINT_ID: no such endpoint, or the job was cancelled by somebody"
    if error.code in ("DEADLINE_EXCEEDED", "ENDPOINT_UNAVAILABLE"):
        return _of_workers(health)
    return _BY_CODE.get(error.code, "the worker's log")


def _of_workers(health: Health | None) -> str:
    workers = health.detail.get("workers") if health is not None else None
    if not isinstance(workers, Mapping):
        return "the network and the platform's status: nothing answers"
    count = {str(state): number for state, number in workers.items() if type(number) is int}
    if count.get("unhealthy"):
        return "container exited: look at the worker's log; a missing secret or a bad variable stops it at once"
    if count.get("initializing"):
        return "cold start still under way: run this again in a minute, or with a longer RUNPOD_TIMEOUT_S"
    if count.get("throttled"):
        return "no workers: no GPU of the endpoint's pools is free; allow more pools"
    if not any(count.get(state) for state in _STANDING_BY):
        return "no workers: max workers may be 0, the quota used up, or the image cannot be pulled"
    return "the worker's log: a worker stands by and did not answer in time"
