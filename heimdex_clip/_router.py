"""What a client does with its backends: log, fall back, hold the digest, offer to the canary. No I/O of its own."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from heimdex_clip._canary import Canary
from heimdex_clip._exchange import Steps, T
from heimdex_clip.backends.base import Backend
from heimdex_clip.contract import Embedding, Source
from heimdex_clip.errors import (
    ClipError,
    DeadlineExceeded,
    DigestMismatch,
    EndpointUnavailable,
    InvalidRequest,
    Overloaded,
)
from heimdex_clip.results import Health, Info

_DOWN = (EndpointUnavailable, DeadlineExceeded, Overloaded)
"""What the fallback is for. A refused key or signature is a fault to mend, and would otherwise go unseen."""

_log = logging.getLogger("heimdex_clip")


@dataclass(frozen=True, slots=True)
class Router:
    """One client's way to its backends. `expected_digest` empty: any model's vectors are taken."""

    primary: Backend
    fallback: Backend | None = None
    expected_digest: str = ""
    canary: Canary | None = None

    def embed(self, source: Source, *, request_id: str | None, normalize: bool) -> Steps[Embedding]:
        """One image or text. Raises as the backend does, DigestMismatch for a vector of another model."""
        own_id = uuid.uuid4().hex if request_id is None else request_id
        embedding, backend = yield from self._logged(
            lambda backend: backend.embed(source, own_id, normalize=normalize), own_id
        )
        embedding = self._marked(embedding, backend)
        if error := self._refusal(embedding):
            raise error
        if self.canary is not None and backend is self.primary:
            self.canary.offer(source, embedding)
        return embedding

    def embed_batch(self, sources: Sequence[Source], *, normalize: bool) -> Steps[list[Embedding | ClipError]]:
        """Several images, each with its embedding or its own error."""
        if not sources:
            raise InvalidRequest("at least one image is needed")
        ids = [uuid.uuid4().hex for _ in sources]
        results, backend = yield from self._logged(
            lambda backend: backend.embed_batch(sources, ids, normalize=normalize), ids[0]
        )
        checked: list[Embedding | ClipError] = []
        for source, result in zip(sources, results, strict=True):
            if isinstance(result, Embedding):
                embedding = self._marked(result, backend)
                error = self._refusal(embedding)
                checked.append(error or embedding)
                if self.canary is not None and error is None and backend is self.primary:
                    self.canary.offer(source, embedding)
            else:
                checked.append(result)
        return checked

    def info(self) -> Steps[Info]:
        """Of the primary backend."""
        return (yield from self.primary.info())

    def health(self) -> Steps[Health]:
        """Of the primary backend."""
        return (yield from self.primary.health())

    def _logged(self, ask: Callable[[Backend], Steps[T]], request_id: str) -> Steps[tuple[T, Backend]]:
        try:
            return (yield from _timed(self.primary, ask, request_id)), self.primary
        except _DOWN as error:
            if self.fallback is None or not error.retryable:
                raise
            _say(
                logging.WARNING,
                f"CLIP backend {self.primary.name} is down ({error.code}); falling back to {self.fallback.name}",
                request_id,
                self.fallback,
            )
        return (yield from _timed(self.fallback, ask, request_id)), self.fallback

    def _marked(self, embedding: Embedding, backend: Backend) -> Embedding:
        return replace(embedding, backend=backend.name, is_fallback=backend is not self.primary)

    def _refusal(self, embedding: Embedding) -> DigestMismatch | None:
        if self.expected_digest in ("", embedding.model_digest):
            return None
        return DigestMismatch(
            f"the vector's model_digest is {embedding.model_digest[:40]!a}, not EXPECTED_MODEL_DIGEST"
            f" {self.expected_digest} (backend {embedding.backend})"
        )


def _timed(backend: Backend, ask: Callable[[Backend], Steps[T]], request_id: str) -> Steps[T]:
    _say(logging.INFO, f"Generating CLIP embedding (backend={backend.name})", request_id, backend)
    started = time.perf_counter()
    try:
        found = yield from ask(backend)
    except ClipError as error:
        elapsed_s = time.perf_counter() - started
        message = f"CLIP embedding failed via {backend.label} in {elapsed_s:.3f}s: {error.code}"
        _say(logging.WARNING, message, request_id, backend)
        raise
    elapsed_s = time.perf_counter() - started
    _say(
        logging.INFO,
        f"CLIP embedding generated via {backend.label} in {elapsed_s:.3f}s",
        request_id,
        backend,
        elapsed_s,
    )
    return found


def _say(level: int, message: str, request_id: str, backend: Backend, elapsed_s: float | None = None) -> None:
    """The id stands in the text, for people, and in the record, for whatever collects it."""
    shown = request_id.encode("unicode_escape").decode("ascii")  # a caller's id may hold a line break
    extra = {"request_id": request_id, "backend": backend.name, "elapsed_s": elapsed_s}
    _log.log(level, "%s request_id=%s", message, shown, extra=extra)
