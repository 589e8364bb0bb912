"""JSON schemas of bodies and replies, for the OpenAPI document only: the contract's own code judges requests."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TypeAlias

from heimdex_clip import contract
from heimdex_clip.errors import WIRE_ERRORS
from worker.http.replies import STATUS

Schema: TypeAlias = dict[str, object]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_MS: Schema = {"type": "object", "additionalProperties": {"type": "number"}, "description": "Milliseconds by stage."}
_VECTOR: Schema = {
    "description": "Numbers, or base64 of little-endian float32.",
    "anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string", "contentEncoding": "base64"}],
}


def _object(description: str, required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


_SOURCE: dict[str, Schema] = {
    "image_url": {"type": "string", "maxLength": contract.MAX_URL_CHARS},
    "image_base64": {"type": "string", "contentEncoding": "base64"},
    "text": {"type": "string", "maxLength": contract.MAX_TEXT_CHARS},
    "request_id": {"type": "string", "maxLength": contract.MAX_REQUEST_ID_CHARS},
    "normalize": {"type": "boolean", "default": True},
}
_MODEL: Schema = {"type": ["string", "null"], "description": "Refused unless it is the one that is served."}
_WHOLE: dict[str, Schema] = {"model": _MODEL, "encoding": {"enum": ["float", "base64"], "default": "float"}}
_AUTH_V1 = _object("Signature over the image URL and the time.", {"ts": _TEXT, "sig": _TEXT})
_AUTH_V2 = _object("Signature over the payload's exact bytes.", {"v": {"const": 2}, "kid": _TEXT, "sig": _TEXT})
_ITEM = _object("One image or text.", {}, {**_SOURCE, "auth": _AUTH_V1})
_ITEMS: Schema = {"type": "array", "items": _ITEM, "minItems": 1, "maxItems": contract.MAX_ITEMS}
_V2 = _object("v2: everything under one signature.", {"payload": _TEXT, "auth": _AUTH_V2})

IMAGE_BODY: Schema = {
    "anyOf": [
        _V2,
        _object("v1: one image.", {"image_url": _SOURCE["image_url"], "auth": _AUTH_V1}, {**_SOURCE, **_WHOLE}),
    ]
}
IMAGES_BODY: Schema = {
    "anyOf": [_V2, _object("v1: several images, each with its own `auth`.", {"items": _ITEMS}, _WHOLE)]
}
TEXT_BODY: Schema = {
    "anyOf": [
        _V2,
        _object(
            "Unsigned, where the server accepts that: a text.",
            {"text": _SOURCE["text"]},
            {"request_id": _SOURCE["request_id"], "normalize": _SOURCE["normalize"], **_WHOLE},
        ),
        _object("Unsigned: several texts.", {"items": _ITEMS}, _WHOLE),
    ]
}

REPLY = _object(
    "One embedding.",
    {
        "request_id": {"type": ["string", "null"]},
        "embedding": _VECTOR,
        "dim": _COUNT,
        "model": _TEXT,
        "pretrained": _TEXT,
        "normalized": _FLAG,
        "timings": _MS,
        "model_digest": {"type": "string", "description": "Only vectors of equal digest may be compared."},
        "lane": _TEXT,
    },
    {"truncated": {"const": True, "description": "The text was longer than the model reads."}},
)

ERROR = _object(
    "A failure.",
    {
        "error": _TEXT,
        "code": {"enum": list(WIRE_ERRORS)},
        "retryable": _FLAG,
        "request_id": {"type": ["string", "null"]},
    },
)

BATCH_REPLY = _object(
    "Results in the order of the items; a failed item has the form of a failure.",
    {
        "results": {"type": "array", "items": {"anyOf": [REPLY, ERROR]}},
        "model": _TEXT,
        "pretrained": _TEXT,
        "model_digest": _TEXT,
        "timings": _MS,
    },
)

_INPUT_IMAGE = _object("An image.", {"image": {"type": "string", "description": "URL or base64 data URI."}})
_INPUT_TEXT = _object("A text.", {"text": _TEXT})
_INPUT: Schema = {"anyOf": [_TEXT, _INPUT_IMAGE, _INPUT_TEXT]}

OPENAI_BODY = _object(
    "OpenAI's body, with images beside texts.",
    {"input": {"anyOf": [_INPUT, {"type": "array", "items": _INPUT, "minItems": 1}]}},
    {
        "model": _MODEL,
        "modality": {"enum": ["text", "image", None], "default": "text", "description": "What plain strings are."},
        "encoding_format": {"enum": ["float", "base64", None], "default": "float"},
        "dimensions": {"type": ["integer", "null"], "description": "Only the model's own size is accepted."},
        "user": {"description": "Ignored."},
    },
)

OPENAI_REPLY = _object(
    "Embeddings in the order of the inputs.",
    {
        "object": {"const": "list"},
        "data": {
            "type": "array",
            "items": _object(
                "One embedding.", {"object": {"const": "embedding"}, "index": _COUNT, "embedding": _VECTOR}
            ),
        },
        "model": _TEXT,
        "usage": _object("Tokens of the texts; images have none.", {"prompt_tokens": _COUNT, "total_tokens": _COUNT}),
        "timings": _MS,
    },
)

OPENAI_ERROR = _object(
    "A failure in OpenAI's envelope; `code` is the contract's.",
    {
        "error": _object(
            "The failure.",
            {"message": _TEXT, "type": _TEXT, "param": {"type": "null"}, "code": {"enum": list(WIRE_ERRORS)}},
        )
    },
)

HEALTH = _object(
    "The server's state, and what it serves once the model is loaded.",
    {"state": {"enum": ["loading", "ready", "draining", "lost"]}, "uptime_s": {"type": "number"}},
    {
        "model": _TEXT,
        "pretrained": _TEXT,
        "untrained": _FLAG,
        "model_digest": _TEXT,
        "dim": _COUNT,
        "lane": _TEXT,
        "limits": {"type": "object"},
        "text_ready": _FLAG,
        "queued_items": _COUNT,
        "running_items": _COUNT,
    },
)


def failures(form: Schema = ERROR) -> dict[int, Schema]:
    """The failures of every route that embeds, by status."""
    causes: dict[int, list[str]] = {}
    for code, status in STATUS.items():
        causes.setdefault(status, []).append(code)
    for status, cause in (
        (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a body over 20 MiB (INVALID_REQUEST)"),
        (HTTPStatus.REQUEST_TIMEOUT, "a body that did not arrive in time (DEADLINE_EXCEEDED)"),
        (HTTPStatus.SERVICE_UNAVAILABLE, "loading, shutting down, or the lane is lost (OVERLOADED), with Retry-After"),
    ):
        causes.setdefault(status, []).append(cause)
    causes[HTTPStatus.TOO_MANY_REQUESTS].append("with Retry-After")
    return {int(status): {**form, "description": ", ".join(causes[status])} for status in sorted(causes)}


def openai_failures() -> dict[int, Schema]:
    """As `failures`, in OpenAI's envelope."""
    return failures(OPENAI_ERROR)


_SIGNED_V1 = {"ts": "1767225600", "sig": "64 hex digits"}
_SIGNED_V2 = {"v": 2, "kid": "default", "sig": "64 hex digits"}
_ADDRESSED = '"aud":"local","exp":1767225660'

EXAMPLES: dict[str, dict[str, object]] = {
    "/v1/embed/image": {
        "v1": {"image_url": "https://example.com/cat.jpg", "request_id": "cat", "auth": _SIGNED_V1},
        "v2": {
            "payload": f'{{"image_url":"https://example.com/cat.jpg",{_ADDRESSED}}}',
            "auth": _SIGNED_V2,
        },
    },
    "/v1/embed/image-batch": {
        "v1": {"items": [{"image_url": "https://example.com/cat.jpg", "auth": _SIGNED_V1}]},
        "v2": {
            "payload": f'{{"items":[{{"image_url":"https://example.com/cat.jpg"}}],{_ADDRESSED}}}',
            "auth": _SIGNED_V2,
        },
    },
    "/v1/embed/text": {
        "v2": {"payload": f'{{"text":"a photo of a cat",{_ADDRESSED}}}', "auth": _SIGNED_V2},
    },
    "/v1/embeddings": {
        "texts": {"model": "ViT-B-32", "input": ["a photo of a cat", "a photo of a dog"]},
        "images": {"model": "ViT-B-32", "input": [{"image": "https://example.com/cat.jpg"}]},
    },
}
