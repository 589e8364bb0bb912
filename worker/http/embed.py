"""The queue's bodies over HTTP: /v1/embed/image, /v1/embed/image-batch, /v1/embed/text."""

from __future__ import annotations

from collections.abc import Callable

from heimdex_clip.contract import EmbedRequest, Item, Request, Text
from heimdex_clip.errors import InvalidRequest
from worker.http.answering import answering
from worker.http.door import Door
from worker.http.operations import Operation, Schema
from worker.http.schemas import BATCH_REPLY, EXAMPLES, IMAGE_BODY, IMAGES_BODY, REPLY, TEXT_BODY, failures
from worker.service import EmbeddingService, Reply

Accept = Callable[[Request], None]


def operations(door: Door) -> list[Operation]:
    """The routes of this module."""
    either = {"description": "One embedding, or a batch of them.", "anyOf": [REPLY, BATCH_REPLY]}
    return [
        _operation(door, "/v1/embed/image", "Embed one image", _one_image, IMAGE_BODY, REPLY),
        _operation(door, "/v1/embed/image-batch", "Embed several images", _several_images, IMAGES_BODY, BATCH_REPLY),
        _operation(door, "/v1/embed/text", "Embed a text, or several", _texts, TEXT_BODY, either),
    ]


def _operation(door: Door, path: str, summary: str, accept: Accept, body: Schema, reply: Schema) -> Operation:
    async def serve(service: EmbeddingService, given: object) -> Reply:
        return await service.handle(given, accept=accept)

    return Operation(
        "POST",
        path,
        answering(door, path, serve),
        summary,
        description=(
            "The body is what a job's `input` holds on the queue, signed in the same way."
            " The answer's `Server-Timing` header has the milliseconds of each stage."
        ),
        body=body,
        examples=EXAMPLES[path],
        answers={200: reply, **failures()},
    )


def _one_image(request: Request) -> None:
    if not isinstance(request, EmbedRequest) or request.batch or _texts_in(request):
        raise InvalidRequest("this route takes one image: image_url or image_base64")


def _several_images(request: Request) -> None:
    if not isinstance(request, EmbedRequest) or not request.batch or _texts_in(request):
        raise InvalidRequest("this route takes items, each with image_url or image_base64")


def _texts(request: Request) -> None:
    if not isinstance(request, EmbedRequest) or _texts_in(request) < _well_formed(request):
        raise InvalidRequest("this route takes text, or items, each with text")


def _texts_in(request: EmbedRequest) -> int:
    return sum(isinstance(item, Item) and isinstance(item.source, Text) for item in request.items)


def _well_formed(request: EmbedRequest) -> int:
    return sum(isinstance(item, Item) for item in request.items)
