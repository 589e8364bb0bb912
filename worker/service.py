"""The embedding service: a job's input in, its reply out. Both doors (RunPod, HTTP) stand before this one.

::

    authenticate -> admit -> download (async) -> decode (threads) -> micro-batch -> encode (one thread) -> reply
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from heimdex_clip import contract
from heimdex_clip.contract import (
    Embedding,
    EmbedRequest,
    ImageData,
    ImageUrl,
    InfoRequest,
    Item,
    Rejected,
    Request,
    Text,
)
from heimdex_clip.encoder.encoder import Encoder
from heimdex_clip.errors import (
    ClipError,
    DeadlineExceeded,
    ImageTooLarge,
    InferenceFailed,
    Internal,
    InvalidRequest,
    ModelMismatch,
    SetupError,
)
from worker import log
from worker.admission import Admission, WeightedSemaphore
from worker.authentication import Authenticator
from worker.batcher import Batching, Device, MicroBatcher, Timed
from worker.download import Downloader
from worker.observer import Observer, Unobserved, counting
from worker.settings import Settings
from worker.stages import Decoder, Encoded, Pixels, image_runner, normalise, text_runner

Reply = dict[str, object]


@dataclass(slots=True)
class _Stages:
    """Milliseconds by stage of one item, and its size as it came."""

    started: float = field(default_factory=time.perf_counter)
    ms: dict[str, float] = field(default_factory=dict)
    bytes: int = 0
    batch_size: int = 0

    def mark(self, stage: str, since: float) -> None:
        self.ms[stage] = _ms(time.perf_counter() - since)

    def finish(self) -> dict[str, float]:
        self.mark("total_ms", self.started)
        return self.ms


class EmbeddingService:
    """Serves one encoder. Create it inside the running loop that it will serve, and `close` it there."""

    def __init__(
        self,
        encoder: Encoder,
        settings: Settings,
        authenticator: Authenticator,
        downloader: Downloader,
        observer: Observer | None = None,
    ) -> None:
        self.encoder = encoder
        self.settings = settings
        self.admission = Admission(max_items=settings.max_inflight_items, max_queued=settings.max_queued_items)
        self._authenticator = authenticator
        self._downloader = downloader
        self._observer = observer or Unobserved()
        # Half of the budget each: an item holds its download while it waits to be decoded, so one common
        # pool could fill up with downloads that all wait for each other's room.
        self._download_bytes = WeightedSemaphore(settings.max_inflight_bytes // 2)
        self._decode = Decoder(
            size=encoder.image_size,
            max_pixels=settings.max_image_pixels,
            max_bytes=settings.max_inflight_bytes // 2,
        )
        self._device = Device()
        batching = Batching(settings.max_batch, settings.batch_wait_ms / 1000)
        self._images: MicroBatcher[Pixels, Encoded] = MicroBatcher(
            counting(image_runner(encoder), "image", self._observer), self._device, batching
        )
        self._texts: MicroBatcher[str, Encoded] = MicroBatcher(
            counting(text_runner(encoder), "text", self._observer), self._device, batching
        )

    def drain(self) -> None:
        """Refuse new jobs with OVERLOADED from now on; what is under way goes on."""
        self.admission.closed = True

    async def close(self) -> None:
        """Stop everything; call it when nothing is under way."""
        self.drain()
        await self._images.close()
        await self._texts.close()
        await self._downloader.close()
        self._decode.close()
        self._device.close()

    async def handle(
        self, job_input: object, *, job_id: str | None = None, accept: Callable[[Request], None] = lambda _: None
    ) -> Reply:
        """Answer one job. Never raises but on cancellation: a failure is a reply with `error` and `code`.

        `accept` may refuse, by raising InvalidRequest, a genuine request that came to the wrong door.
        """

        def read() -> Request:
            request = self._authenticator.authenticate(job_input).request
            accept(request)
            return request

        return await self._answer(read, contract.request_id_of(job_input), job_id)

    async def answer(self, request: Request) -> Reply:
        """As `handle`, for a request without a signature: the door vouches for its caller."""
        return await self._answer(lambda: request, None, None)

    async def _answer(self, read: Callable[[], Request], request_id: str | None, job_id: str | None) -> Reply:
        started = time.perf_counter()
        summary: dict[str, object] = {}
        code = "OK"
        try:
            request = read()
            if isinstance(request, InfoRequest):
                request_id = request.request_id
                reply = self.info()
            else:
                request_id = request.items[0].request_id if not request.batch else request_id
                reply = await self._embed(request, started, summary)
        except ClipError as error:
            code = error.code
            reply = contract.error_reply(error, request_id)
        except asyncio.CancelledError:
            log.event("job", job_id=job_id, request_id=request_id, code="CANCELLED", **summary)
            raise
        # The last line of defence: an exception that left here would send its traceback to the caller.
        except Exception as error:  # noqa: BLE001
            code = Internal.code
            summary["cause"] = log.cause(error)
            reply = contract.error_reply(Internal("Internal error"), request_id)
        summary["total_ms"] = _ms(time.perf_counter() - started)
        log.event("job", job_id=job_id, request_id=request_id, code=code, **summary)
        return reply

    def info(self) -> Reply:
        """What this worker serves, and its limits."""
        model, settings = self.encoder.manifest, self.settings
        return {
            "model": model.model,
            "pretrained": model.pretrained,
            "untrained": model.untrained,
            "model_digest": model.model_digest,
            "dim": model.identity.embedding_dim,
            "lane": self.encoder.lane.name,
            "limits": {
                "max_image_bytes": settings.max_image_bytes,
                "max_image_pixels": settings.max_image_pixels,
                "max_batch_items": settings.max_batch_items,
                "max_text_chars": contract.MAX_TEXT_CHARS,
                "job_timeout_s": settings.job_timeout_s,
            },
        }

    async def _embed(self, request: EmbedRequest, started: float, summary: dict[str, object]) -> Reply:
        model = self.encoder.manifest
        if request.model not in (None, model.model):
            raise ModelMismatch(f"This worker serves {model.model}")
        if len(request.items) > self.settings.max_batch_items:
            raise InvalidRequest(
                f"The request has {len(request.items)} items; at most {self.settings.max_batch_items} are accepted"
            )
        deadline = asyncio.get_running_loop().time() + self.settings.job_timeout_s
        stages = [_Stages(started) for _ in request.items]
        try:
            with self.admission.enter(len(request.items)):
                results = await self._embed_all(request.items, stages, deadline)
            for result, own in zip(results, stages, strict=True):
                self._observer.item(result.code if isinstance(result, ClipError) else "OK", own.ms)
        finally:
            _summarise(summary, stages, batch=request.batch)
        if not request.batch:
            (result,) = results
            if isinstance(result, ClipError):
                raise result
            return contract.embedding_reply(result, request.encoding)
        summary["failed"] = sum(isinstance(result, ClipError) for result in results)
        return {
            "results": [
                contract.error_reply(result, item.request_id)
                if isinstance(result, ClipError)
                else contract.embedding_reply(result, request.encoding)
                for item, result in zip(request.items, results, strict=True)
            ],
            "model": model.model,
            "pretrained": model.pretrained,
            "model_digest": model.model_digest,
            "timings": {"total_ms": _ms(time.perf_counter() - started)},
        }

    async def _embed_all(
        self, items: tuple[Item | Rejected, ...], stages: list[_Stages], deadline: float
    ) -> list[Embedding | ClipError]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._embed_one(item, own, deadline)) for item, own in zip(items, stages, strict=True)
            ]
        return [task.result() for task in tasks]

    async def _embed_one(self, item: Item | Rejected, stages: _Stages, deadline: float) -> Embedding | ClipError:
        """One item's vector or its own error, so that neighbours never share a fate."""
        if isinstance(item, Rejected):
            return item.error
        try:
            async with asyncio.timeout_at(deadline), self.admission.slot():
                stages.mark("wait_ms", stages.started)
                encoded = await self._encode(item, stages, deadline)
        except TimeoutError:
            return DeadlineExceeded(f"No answer within {self.settings.job_timeout_s:g} s")
        except ClipError as error:
            return error
        # As in `handle`, for one item of many.
        except Exception as error:  # noqa: BLE001
            log.event("item_failed", request_id=item.request_id, cause=log.cause(error))
            return Internal("Internal error")
        stages.batch_size = encoded.batch_size
        stages.ms |= {"queue_ms": _round(encoded.queue_ms), "inference_ms": _round(encoded.inference_ms)}
        return self._embedding(item, encoded.value, stages)

    async def _encode(self, item: Item, stages: _Stages, deadline: float) -> Timed[Encoded]:
        source = item.source
        if isinstance(source, Text):
            await self._text_tower()
            stages.bytes = len(source.text)
            return await self._texts.submit(source.text, deadline=deadline)
        async with self._image_bytes(source, stages) as data:
            stages.bytes = len(data)
            started = time.perf_counter()
            pixels = await self._decode(data)
            stages.mark("decode_ms", started)
        return await self._images.submit(pixels, deadline=deadline)

    @asynccontextmanager
    async def _image_bytes(self, source: ImageUrl | ImageData, stages: _Stages) -> AsyncIterator[bytes]:
        """The encoded image, downloaded where needed, counted against the budget while it is held."""
        if isinstance(source, ImageData):
            if len(source.data) > self.settings.max_image_bytes:
                raise ImageTooLarge(
                    f"The image has {len(source.data)} bytes; at most {self.settings.max_image_bytes} are accepted"
                )
            yield source.data
            return
        held = 0

        async def reserve(size: int) -> None:
            nonlocal held
            held = await self._download_bytes.acquire(size)

        try:
            started = time.perf_counter()
            data = await self._downloader.fetch(source.url, reserve=reserve)
            stages.mark("download_ms", started)
            yield data
        finally:
            self._download_bytes.release(held)

    async def _text_tower(self) -> None:
        """Wait until texts can be embedded; the first one may have to load the tower."""
        if self.encoder.text_ready:
            return
        try:
            await asyncio.to_thread(self.encoder.load_text)
        except SetupError as error:
            log.event("text_tower_failed", code=error.code, reason=error.message)
            raise InferenceFailed("The text tower is not available", retryable=False) from error

    def _embedding(self, item: Item, encoded: Encoded, stages: _Stages) -> Embedding:
        model = self.encoder.manifest
        vector = normalise(encoded.vector) if item.normalize else encoded.vector
        return Embedding(
            request_id=item.request_id,
            vector=tuple(vector.tolist()),
            dim=len(vector),
            model=model.model,
            pretrained=model.pretrained,
            normalized=item.normalize,
            model_digest=model.model_digest,
            lane=self.encoder.lane.name,
            timings=stages.finish(),
            truncated=encoded.truncated,
        )


def _summarise(summary: dict[str, object], stages: list[_Stages], *, batch: bool) -> None:
    """The job's log fields: its sizes, and each stage's slowest milliseconds."""
    if batch:
        summary["items"] = len(stages)
    summary["bytes"] = sum(own.bytes for own in stages)
    summary["batch_size"] = max(own.batch_size for own in stages)
    for own in stages:
        for stage, ms in own.ms.items():
            summary[stage] = max(ms, float(str(summary.get(stage, 0.0))))


def _ms(seconds: float) -> float:
    return _round(seconds * 1000)


def _round(ms: float) -> float:
    return round(ms, 2)
