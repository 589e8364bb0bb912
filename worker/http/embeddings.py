"""POST /v1/embeddings: OpenAI's API before the same service, for callers with a bearer key."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from worker.http import openai
from worker.http.answering import answering
from worker.http.door import Door
from worker.http.keys import ApiKeys
from worker.http.operations import Operation
from worker.http.replies import headers
from worker.http.schemas import EXAMPLES, OPENAI_BODY, OPENAI_REPLY, openai_failures
from worker.service import EmbeddingService, Reply

PATH = "/v1/embeddings"
SECURITY = "apiKey"


def operation(door: Door) -> Operation:
    """The route of this module."""
    keys = ApiKeys(door.settings.api_keys)

    def allow(request: Request) -> None:
        keys.check(request.headers.get("authorization"))

    return Operation(
        "POST",
        PATH,
        answering(door, PATH, _serve, allow=allow, form=_form),
        "Embed texts and images, in the form of OpenAI's API",
        description=(
            'Strings are texts; images are `{"image": URL or data URI}`, or strings under `"modality": "image"`.'
            " Vectors have L2 norm 1. One failing input fails the request."
        ),
        body=OPENAI_BODY,
        examples=EXAMPLES[PATH],
        answers={200: OPENAI_REPLY, **openai_failures()},
        security=SECURITY,
    )


async def _serve(service: EmbeddingService, body: object) -> Reply:
    request = openai.parse(body, dim=service.encoder.manifest.identity.embedding_dim)
    reply = await service.answer(request)
    failed = reply if "error" in reply else openai.first_failure(reply)
    if failed is not None:
        return failed
    return openai.success(reply, prompt_tokens=await _count_tokens(service, openai.texts_of(request)))


async def _count_tokens(service: EmbeddingService, texts: list[str]) -> int:
    """In a thread: long texts take milliseconds. They were embedded, so the text tower is there."""

    def count() -> int:
        tokenizer, _ = service.encoder.load_text()
        length = service.encoder.manifest.identity.tokenizer.context_length
        return openai.count_tokens(texts, tokenizer, context_length=length)

    return await asyncio.to_thread(count) if texts else 0


def _form(reply: Reply, status: HTTPStatus) -> Response:
    found = headers(reply, status)
    if status == HTTPStatus.UNAUTHORIZED:
        found["WWW-Authenticate"] = "Bearer"
    return JSONResponse(openai.failure(reply, status) if "error" in reply else reply, status, found)
