"""The same model in this process, on the CPU: the way back when no worker can be had. Needs the extra `cpu`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from heimdex_clip._exchange import Steps, Work
from heimdex_clip.contract import Embedding, ImageData, ImageUrl, Source, Text
from heimdex_clip.errors import ClipError, InferenceFailed, Internal, LaneUnavailable
from heimdex_clip.results import Health, Info

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from heimdex_clip.backends.images import DownloadRules
    from heimdex_clip.encoder.encoder import Encoder

T = TypeVar("T")
_MAX_PIXELS = 50_000_000  # the worker's default


class Local:
    """One model folder, opened at the first use and then kept. Threads may share one."""

    name = "local"
    label = "local"

    def __init__(self, folder: Path, rules: Callable[[], DownloadRules]) -> None:
        self._folder = folder
        self._rules = rules
        self._encoder: Encoder | None = None
        self._opening = threading.Lock()
        self._encoding = threading.Lock()  # the encoder takes one thread at a time

    def embed(self, source: Source, request_id: str, *, normalize: bool) -> Steps[Embedding]:
        """See `Backend.embed`."""
        (result,) = yield from self.embed_batch([source], [request_id], normalize=normalize)
        if isinstance(result, ClipError):
            raise result
        return result

    def embed_batch(
        self, sources: Sequence[Source], request_ids: Sequence[str], *, normalize: bool
    ) -> Steps[list[Embedding | ClipError]]:
        """See `Backend.embed_batch`."""

        def work() -> list[Embedding | ClipError]:
            self._opened()  # a model that cannot be used is everybody's failure
            return [
                self._embedded(source, own_id, normalize=normalize)
                for source, own_id in zip(sources, request_ids, strict=True)
            ]

        return (yield from _computed(work))

    def info(self) -> Steps[Info]:
        """Opens the model."""
        return (yield from _computed(self._info))

    def health(self) -> Steps[Health]:
        """Whether the model is open; opens it, for that is the only proof."""
        encoder = yield from _computed(self._opened)
        return Health(self.name, ready=True, detail={"lane": encoder.lane.name, "folder": str(self._folder)})

    def _opened(self) -> Encoder:
        """The encoder, hashed and self-tested. Raises LaneUnavailable or ModelError."""
        with self._opening:
            if self._encoder is None:
                try:
                    from heimdex_clip.encoder.encoder import open_encoder
                except ImportError as error:
                    raise LaneUnavailable(f"{error.name} is not installed; install heimdex-clip[cpu]") from None
                self._encoder = open_encoder(self._folder, runtime="cpu")
            return self._encoder

    def _info(self) -> Info:
        encoder = self._opened()
        model = encoder.manifest
        return Info(
            model=model.model,
            pretrained=model.pretrained,
            untrained=model.untrained,
            model_digest=model.model_digest,
            dim=model.identity.embedding_dim,
            lane=encoder.lane.name,
            limits={"max_image_bytes": self._rules().max_bytes, "max_image_pixels": _MAX_PIXELS},
            backend=self.name,
        )

    def _embedded(self, source: Source, request_id: str, *, normalize: bool) -> Embedding | ClipError:
        try:
            return self._embed_now(source, request_id, normalize=normalize)
        except ClipError as error:
            return error

    def _embed_now(self, source: Source, request_id: str, *, normalize: bool) -> Embedding:
        encoder = self._opened()
        from heimdex_clip.encoder.encoder import usable

        watch = _Stopwatch()
        truncated = False
        if isinstance(source, Text):
            with self._encoding:
                watch.lap("queue_ms")
                vectors, (truncated,) = encoder.encode_texts([source.text])
        else:
            pixels = self._pixels(source, encoder.image_size, watch)
            with self._encoding:
                watch.lap("queue_ms")
                vectors = encoder.encode_pixels(pixels[None])
        watch.lap("inference_ms")
        if not usable(vectors)[0]:
            raise InferenceFailed("The vector is not finite or zero")
        model = encoder.manifest
        return Embedding(
            request_id=request_id,
            vector=_finished(vectors[0], normalize=normalize),
            dim=model.identity.embedding_dim,
            model=model.model,
            pretrained=model.pretrained,
            normalized=normalize,
            model_digest=model.model_digest,
            lane=encoder.lane.name,
            timings=watch.total(),
            truncated=truncated,
        )

    def _pixels(self, source: ImageUrl | ImageData, size: int, watch: _Stopwatch) -> NDArray[np.uint8]:
        from heimdex_clip.encoder.preprocess import preprocess

        data = source.data if isinstance(source, ImageData) else self._downloaded(source.url)
        if isinstance(source, ImageUrl):
            watch.lap("download_ms")
        pixels = preprocess(data, size=size, max_pixels=_MAX_PIXELS)
        watch.lap("decode_ms")
        return pixels

    def _downloaded(self, url: str) -> bytes:
        from heimdex_clip.backends.images import download

        return download(url, self._rules())


class _Stopwatch:
    """Milliseconds by stage, from the end of the one before."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self._ms: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """`stage` ended now."""
        now = time.perf_counter()
        self._ms[stage], self._last = round((now - self._last) * 1000, 3), now

    def total(self) -> dict[str, float]:
        """All stages, and their sum."""
        return {**self._ms, "total_ms": round((self._last - self._started) * 1000, 3)}


def _finished(vector: NDArray[np.float32], *, normalize: bool) -> tuple[float, ...]:
    from heimdex_clip.encoder.encoder import normalised

    return tuple(map(float, normalised(vector) if normalize else vector))


def _computed(work: Callable[[], T]) -> Steps[T]:
    """`work`'s result, computed as one step."""
    done: list[T] = []
    failed: list[ClipError] = []

    def run() -> None:
        try:
            done.append(work())
        except ClipError as error:
            failed.append(error)
        # The last line of defence: whatever else it is must reach the caller as a ClipError.
        except Exception as error:  # noqa: BLE001
            failed.append(Internal(f"the model in this process failed ({type(error).__name__})"))

    yield Work(run)
    if failed:
        raise failed[0]
    return done[0]
