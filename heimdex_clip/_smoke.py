"""The smoke test: from an image in storage to a checked vector, one line a step."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from heimdex_clip import _smoke_image
from heimdex_clip._settings import ClientSettings
from heimdex_clip._smoke_hints import hint
from heimdex_clip._smoke_storage import Storage
from heimdex_clip.client import ClipClient
from heimdex_clip.contract import Embedding
from heimdex_clip.errors import ClipError
from heimdex_clip.results import Health

DIM = 512
_NORM_TOLERANCE = 1e-3


@dataclass(slots=True)
class Checklist:
    """Prints each line as it is known, and remembers what failed."""

    out: Callable[[str], None]
    failed: list[str] = field(default_factory=list)

    def line(self, name: str, value: str, *, holds: bool = True, check: str = "") -> None:
        """A tick, or a cross with what to check."""
        if not holds:
            self.failed.append(name)
        advice = "" if holds else f" -> check {check}"
        self.out(f"{'✓' if holds else '✗'} {name:<20} {value}{advice}")

    def verdict(self) -> int:
        """The last line; the exit code."""
        self.out(
            "✗ verdict              failed: " + ", ".join(self.failed)
            if self.failed
            else "✓ verdict              works"
        )
        return 1 if self.failed else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to test with: an image that is there already, or the storage to put one into (None: sent along)."""

    settings: ClientSettings
    image_url: str = ""
    open_storage: Callable[[], Storage] | None = None
    place: str = ""


def run(plan: Plan, client: ClipClient, checklist: Checklist) -> int:
    """Go through all steps; 0 only if every line holds. What was uploaded is removed whatever happens."""
    _configuration(plan, checklist)
    storage: Storage | None = None
    path = f"smoke-{uuid.uuid4().hex}.png"
    uploaded = False
    try:
        url, data = plan.image_url, b""
        if not url:
            data = _smoke_image.png()
            size = f"{_smoke_image.WIDTH} x {_smoke_image.HEIGHT} PNG, {len(data)} bytes"
            checklist.line("test image", size)
        if not url and plan.open_storage is not None:
            storage = plan.open_storage()
            url = storage.put(path, data)
            uploaded = True
            checklist.line("uploaded", f"{plan.place}/{path}, signed URL at {urlsplit(url).netloc}")
        _call(plan, client, checklist, url, data)
    except ClipError as error:
        checklist.line("storage", f"{error.code}: {error.message}", holds=False, check=hint(error, None))
    finally:
        if storage is not None:
            _remove(storage, path, checklist, uploaded=uploaded)
    return checklist.verdict()


def _configuration(plan: Plan, checklist: Checklist) -> None:
    settings = plan.settings
    shown = {"backend": settings.backend}
    if settings.backend == "runpod":
        shown |= {"endpoint": settings.endpoint_id, "api key": _masked(settings.api_key)}
    if settings.backend == "http":
        shown["url"] = settings.http_url
    if settings.backend == "local":
        shown["folder"] = settings.model_dir
    else:
        shown |= {"secret": _masked(settings.secret), "timeout": f"{settings.timeout_s:g} s"}
    if settings.expected_digest:
        shown["expected digest"] = settings.expected_digest
    checklist.line("configuration", ", ".join(f"{name} {value}" for name, value in shown.items()))


def _masked(secret: str) -> str:
    return f"set ({len(secret)} characters)"


def _call(plan: Plan, client: ClipClient, checklist: Checklist, url: str, data: bytes) -> None:
    request_id = f"smoke-{uuid.uuid4().hex[:12]}"
    started = time.perf_counter()
    try:
        embedding = (
            client.embed_image(url, request_id=request_id)
            if url
            else client.embed_image(bytes=data, request_id=request_id)
        )
    except ClipError as error:
        health = _health(client) if plan.settings.backend == "runpod" else None
        checklist.line("endpoint called", f"{error.code}: {error.message}", holds=False, check=hint(error, health))
        return
    elapsed_ms = (time.perf_counter() - started) * 1000
    checklist.line("endpoint called", f"answered in {elapsed_ms:.0f} ms")
    _fields(embedding, request_id, checklist)
    _vector(embedding, checklist)
    stages = ", ".join(f"{stage.removesuffix('_ms')} {ms:.1f}" for stage, ms in embedding.timings.items())
    timed = embedding.timings.get("total_ms", 0) > 0
    checklist.line("timing", f"ms: {stages}", holds=timed, check="the worker's version: it tells no total_ms")
    try:
        info = client.info()
    except ClipError as error:
        checklist.line("served", f"{error.code}: {error.message}", holds=False, check=hint(error, None))
        return
    weights = ", untrained: its vectors carry no meaning" if info.untrained else ""
    checklist.line(
        "served",
        f"{info.model} {info.pretrained}, digest {info.model_digest}, lane {info.lane}{weights}",
        holds=info.model_digest == embedding.model_digest,
        check="whether two versions of the worker are running: digests differ",
    )


def _fields(embedding: Embedding, request_id: str, checklist: Checklist) -> None:
    own = embedding.request_id == request_id
    checklist.line("request_id", str(embedding.request_id), holds=own, check="whether the reply is of another request")
    for name in ("model", "pretrained", "model_digest", "lane"):
        value: str = getattr(embedding, name)
        checklist.line(name, value, holds=bool(value), check="the worker's version: the field is empty")
    checklist.line(
        "normalized", str(embedding.normalized).lower(), holds=embedding.normalized, check="the worker's version"
    )


def _vector(embedding: Embedding, checklist: Checklist) -> None:
    vector = embedding.vector
    holds = len(vector) == embedding.dim == DIM
    checklist.line("dimensions", str(len(vector)), holds=holds, check=f"which model is served: {DIM} are expected")
    finite = all(math.isfinite(number) for number in vector)
    checklist.line("numeric", f"{len(vector)} finite numbers", holds=finite, check="the worker's self-test")
    norm = math.sqrt(sum(number * number for number in vector))
    near = abs(norm - 1) < _NORM_TOLERANCE
    checklist.line("L2 norm", f"{norm:.6f}", holds=near, check="whether the worker normalises")


def _health(client: ClipClient) -> Health | None:
    with suppress(ClipError):
        return client.health()
    return None


def _remove(storage: Storage, path: str, checklist: Checklist, *, uploaded: bool) -> None:
    try:
        storage.remove(path)  # also when putting it failed: it may be there all the same
        checklist.line("object removed", path)
    except ClipError as error:
        if uploaded:
            check = f"that {path} is gone, and remove it by hand"
            checklist.line("object removed", f"{error.code}: {error.message}", holds=False, check=check)
    finally:
        storage.close()
