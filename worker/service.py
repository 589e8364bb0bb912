"""The embedding service: a job's input in, its reply out. Both doors (RunPod, HTTP) stand before this one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from heimdex_clip import contract
from heimdex_clip.contract import Embedding, EmbedRequest, InfoRequest, Item, Rejected, Request
from heimdex_clip.encoder.encoder import Encoder
from heimdex_clip.errors import ClipError, Internal, InvalidRequest, ModelMismatch
from worker import log
from worker.admission import Admission
from worker.authentication import Authenticator
from worker.download import Downloader
from worker.observer import Observer, Unobserved
from worker.pipeline import Pipeline, Stages, ms_since
from worker.settings import Settings

Reply = dict[str, object]


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
        self.model_digest = encoder.manifest.model_digest  # hashed anew at each access
        self._authenticator = authenticator
        self._observer = observer or Unobserved()
        self.pipeline = Pipeline(encoder, settings, self.admission, downloader, self._observer)

    def drain(self) -> None:
        """Refuse new jobs with OVERLOADED from now on; what is under way goes on."""
        self.admission.closed = True

    async def close(self) -> None:
        """Stop everything; call it when nothing is under way."""
        self.drain()
        await self.pipeline.close()

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
        summary["total_ms"] = ms_since(started)
        log.event("job", job_id=job_id, request_id=request_id, code=code, **summary)
        return reply

    def info(self) -> Reply:
        """What this worker serves, and its limits."""
        model, settings = self.encoder.manifest, self.settings
        return {
            "model": model.model,
            "pretrained": model.pretrained,
            "untrained": model.untrained,
            "model_digest": self.model_digest,
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
        stages = [Stages(started) for _ in request.items]
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
            "model_digest": self.model_digest,
            "timings": {"total_ms": ms_since(started)},
        }

    async def _embed_all(
        self, items: tuple[Item | Rejected, ...], stages: list[Stages], deadline: float
    ) -> list[Embedding | ClipError]:
        if len(items) == 1:
            return [await self.pipeline.embed(items[0], stages[0], deadline)]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.pipeline.embed(item, own, deadline))
                for item, own in zip(items, stages, strict=True)
            ]
        return [task.result() for task in tasks]


def _summarise(summary: dict[str, object], stages: list[Stages], *, batch: bool) -> None:
    """The job's log fields: its sizes, and each stage's slowest milliseconds."""
    if batch:
        summary["items"] = len(stages)
    summary["bytes"] = sum(own.bytes for own in stages)
    summary["batch_size"] = max(own.batch_size for own in stages)
    slowest: dict[str, float] = {}
    for own in stages:
        for stage, ms in own.ms.items():
            slowest[stage] = max(ms, slowest.get(stage, 0.0))
    summary |= slowest
