"""The way of one item: from its source to its embedding, or to its own error.

::

    admit -> download (async) -> decode (threads) -> micro-batch -> encode (one thread) -> normalise
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from heimdex_clip.contract import Embedding, ImageData, ImageUrl, Item, Rejected, Text
from heimdex_clip.encoder.encoder import Encoder, normalised
from heimdex_clip.errors import ClipError, DeadlineExceeded, ImageTooLarge, InferenceFailed, Internal, SetupError
from worker import log
from worker.addresses import host_of
from worker.admission import HOST_SHARE, Admission, WeightedSemaphore
from worker.batcher import Batching, Device, MicroBatcher, Timed
from worker.download import Downloader
from worker.observer import Observer, counting
from worker.settings import Settings
from worker.stages import Decoder, Encoded, Pixels, image_runner, text_runner


@dataclass(slots=True)
class Stages:
    """Milliseconds by stage of one item, and its size as it came."""

    started: float = field(default_factory=time.perf_counter)
    ms: dict[str, float] = field(default_factory=dict)
    bytes: int = 0
    batch_size: int = 0

    def mark(self, stage: str, since: float) -> None:
        """Record the time since `since` (perf_counter seconds)."""
        self.ms[stage] = ms_since(since)

    def finish(self) -> dict[str, float]:
        """The stages, with the total."""
        self.mark("total_ms", self.started)
        return self.ms


class Pipeline:
    """All stages behind admission. Create it inside the running loop that it will serve."""

    def __init__(
        self,
        encoder: Encoder,
        settings: Settings,
        admission: Admission,
        downloader: Downloader,
        observer: Observer,
    ) -> None:
        self._encoder = encoder
        self._model_digest = encoder.manifest.model_digest  # hashed anew at each access
        self._settings = settings
        self._admission = admission
        self._downloader = downloader
        # Half of the budget each: an item holds its download while it waits to be decoded, so one common
        # pool could fill up with downloads that all wait for each other's room.
        self._download_bytes = WeightedSemaphore(settings.max_inflight_bytes // 2, share=HOST_SHARE)
        self.decode = Decoder(
            size=encoder.image_size,
            max_pixels=settings.max_image_pixels,
            max_bytes=settings.max_inflight_bytes // 2,
        )
        self._preparing = 0  # images being downloaded or decoded
        self._device = Device(settings.encode_timeout_s, encoder.lose)
        # Full batches of the lane's own size: callers of the first are answered while the next one runs.
        batching = Batching(min(settings.max_batch, encoder.lane.max_batch), settings.batch_wait_ms / 1000)
        self._images: MicroBatcher[Pixels, Encoded] = MicroBatcher(
            counting(image_runner(encoder), "image", observer), self._device, batching, lambda: self._preparing > 0
        )
        self._texts: MicroBatcher[str, Encoded] = MicroBatcher(
            counting(text_runner(encoder), "text", observer), self._device, batching
        )

    async def close(self) -> None:
        """Stop everything; call it when nothing is under way."""
        await self._images.close()
        await self._texts.close()
        await self._downloader.close()
        self.decode.close()
        self._device.close()

    async def embed(self, item: Item | Rejected, stages: Stages, deadline: float) -> Embedding | ClipError:
        """One item's vector or its own error, so that neighbours never share a fate."""
        if isinstance(item, Rejected):
            return item.error
        try:
            host = _host(item)
            async with asyncio.timeout_at(deadline), self._admission.slot(host):
                stages.mark("wait_ms", stages.started)
                encoded = await self._encode(item, stages, deadline, host)
        except TimeoutError:
            return DeadlineExceeded(f"No answer within {self._settings.job_timeout_s:g} s")
        except ClipError as error:
            return _bare(error)
        # As in `handle`, for one item of many.
        except Exception as error:  # noqa: BLE001
            log.event("item_failed", request_id=item.request_id, cause=log.cause(error))
            return Internal("Internal error")
        stages.batch_size = encoded.batch_size
        stages.ms |= {"queue_ms": rounded(encoded.queue_ms), "inference_ms": rounded(encoded.inference_ms)}
        return self._embedding(item, encoded.value, stages)

    async def _encode(self, item: Item, stages: Stages, deadline: float, host: str) -> Timed[Encoded]:
        source = item.source
        if isinstance(source, Text):
            await self._text_tower()
            stages.bytes = len(source.text)
            return await self._texts.submit(source.text, deadline=deadline)
        self._preparing += 1
        try:
            async with self._image_bytes(source, stages, host) as data:
                stages.bytes = len(data)
                started = time.perf_counter()
                pixels = await self.decode(data)
                stages.mark("decode_ms", started)
        finally:
            self._preparing -= 1
        return await self._images.submit(pixels, deadline=deadline)

    @asynccontextmanager
    async def _image_bytes(self, source: ImageUrl | ImageData, stages: Stages, host: str) -> AsyncIterator[bytes]:
        """The encoded image, downloaded where needed, counted against the budget while it is held."""
        if isinstance(source, ImageData):
            if len(source.data) > self._settings.max_image_bytes:
                raise ImageTooLarge(
                    f"The image has {len(source.data)} bytes; at most {self._settings.max_image_bytes} are accepted"
                )
            yield source.data
            return
        held = 0

        async def reserve(size: int) -> None:
            nonlocal held
            held = await self._download_bytes.acquire(size, host)

        try:
            started = time.perf_counter()
            data = await self._downloader.fetch(source.url, reserve=reserve)
            stages.mark("download_ms", started)
            yield data
        finally:
            self._download_bytes.release(held, host)

    async def _text_tower(self) -> None:
        """Wait until texts can be embedded; the first one may have to load the tower."""
        if self._encoder.text_ready:
            return
        try:
            await asyncio.to_thread(self._encoder.load_text)
        except SetupError as error:
            log.event("text_tower_failed", code=error.code, reason=error.message)
            raise InferenceFailed("The text tower is not available") from error

    def _embedding(self, item: Item, encoded: Encoded, stages: Stages) -> Embedding:
        model = self._encoder.manifest
        vector = normalised(encoded.vector) if item.normalize else encoded.vector
        return Embedding(
            request_id=item.request_id,
            vector=tuple(vector.tolist()),
            dim=len(vector),
            model=model.model,
            pretrained=model.pretrained,
            normalized=item.normalize,
            model_digest=self._model_digest,
            lane=self._encoder.lane.name,
            timings=stages.finish(),
            truncated=encoded.truncated,
        )


def _host(item: Item) -> str:
    return host_of(item.source.url) if isinstance(item.source, ImageUrl) else ""


def _bare(error: ClipError) -> ClipError:
    """The error without the frames that it came through, which hold the download and the decoded picture.

    Whoever raises it anew makes a circle of it and his own frame, so that all of it would stay until the collector
    of garbage comes by: with bodies of 4 MiB, 100 failed downloads held 470 MB beside a budget of 16.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def ms_since(started: float) -> float:
    """Milliseconds since `started` (perf_counter seconds), to a hundredth."""
    return rounded((time.perf_counter() - started) * 1000)


def rounded(ms: float) -> float:
    """As it is logged and sent."""
    return round(ms, 2)
