"""A worker played inside the test: takes jobs from the loopback job API and answers them as told."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from bench.jobapi import Job, JobApi
from heimdex_clip import contract, signing
from heimdex_clip.contract import Embedding, EmbedRequest, Item, Text

SECRET = "s3cret-that-must-not-show"
API_KEY = "rpa-KEY-that-must-not-show"
DIM = 4

Answer = Callable[[Mapping[str, Any]], object]
"""A job's input -> its output, an awaitable of it, or None: the job stays with the worker for good."""


@asynccontextmanager
async def serving(answer: Answer, **settings: Any) -> AsyncIterator[JobApi]:
    """A job API (made with `settings`) whose jobs are answered by `answer`."""
    async with JobApi(api_key=API_KEY, **settings) as api, asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(_work(api, answer, tasks))
        try:
            yield api
        finally:
            worker.cancel()


@asynccontextmanager
async def raw_server(reply: bytes, *, then: bytes = b"") -> AsyncIterator[str]:
    """A base URL that answers every connection's first request with `reply`, then with `then` again and again."""
    handlers: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            while then:
                writer.write(then)
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            for handler in filter(None, handlers):
                handler.cancel()
            # One that was about to close is cancelled while it waits for that.
            await asyncio.gather(*filter(None, handlers), return_exceptions=True)


async def _work(api: JobApi, answer: Answer, tasks: asyncio.TaskGroup) -> None:
    while True:
        for job in await api.queue.take("played", limit=64, wait_s=60):
            tasks.create_task(_answer(api, job, answer))


async def _answer(api: JobApi, job: Job, answer: Answer) -> None:
    assert isinstance(job.input, Mapping)
    output = answer(job.input)
    if inspect.isawaitable(output):
        output = await output
    if output is not None:
        api.queue.succeed(job, output)


def embed(job_input: Mapping[str, Any], *, audience: str = "endpoint") -> dict[str, object]:
    """Verify as a worker does, then answer with a vector that tells the sources apart."""
    if "payload" in job_input:
        signing.verify_v2(job_input["payload"], job_input["auth"], keys={"default": SECRET, "next": SECRET})
        payload = json.loads(job_input["payload"])
        assert payload["aud"] == audience
    else:
        payload = dict(job_input)
        signing.verify_v1(payload["image_url"], payload["auth"], keys={"k": SECRET}, window_s=120, now=time.time())
    request = contract.parse_request(payload, strict="payload" in job_input)
    assert isinstance(request, EmbedRequest)
    replies = [_reply(item, request) for item in request.items]
    return {"results": replies} if request.batch else replies[0]


def _reply(item: object, request: EmbedRequest) -> dict[str, object]:
    assert isinstance(item, Item)
    is_text = isinstance(item.source, Text)
    first = 1.0 if is_text else 0.0
    embedding = Embedding(
        request_id=item.request_id,
        vector=(first, 0.5, -0.25, 0.125),
        dim=DIM,
        model="ViT-B-32",
        pretrained="openai",
        normalized=item.normalize,
        model_digest="0123456789abcdef",
        lane="cpu",
        timings={"total_ms": 1.5},
        truncated=is_text,
    )
    return contract.embedding_reply(embedding, request.encoding)
