"""The one interface of all backends. They say what to do, step by step, and do no I/O: a client does it for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from heimdex_clip._exchange import Steps
from heimdex_clip.contract import Embedding, Source
from heimdex_clip.errors import ClipError
from heimdex_clip.results import Health, Info


class Backend(Protocol):
    """Whoever turns a source into a vector. All methods raise ClipError, while their steps are driven."""

    @property
    def name(self) -> str:
        """What CLIP_INFERENCE_BACKEND calls it."""

    @property
    def label(self) -> str:
        """What log lines call it."""

    def embed(self, source: Source, request_id: str, *, normalize: bool) -> Steps[Embedding]:
        """One image or text; the embedding carries `request_id`."""

    def embed_batch(
        self, sources: Sequence[Source], request_ids: Sequence[str], *, normalize: bool
    ) -> Steps[list[Embedding | ClipError]]:
        """Several images, in order: for each its embedding, or its own error."""

    def info(self) -> Steps[Info]:
        """What it serves."""

    def health(self) -> Steps[Health]:
        """How it fares."""
