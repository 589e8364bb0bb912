"""OpenAI's embeddings API, translated to and from the contract. Pure: no HTTP, no service."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from heimdex_clip import contract
from heimdex_clip.contract import EmbedRequest, Item, Rejected, Text
from heimdex_clip.encoder.tokenizer import Tokenizer
from heimdex_clip.errors import InvalidRequest
from worker.http.replies import slowest

_FIELDS = {"input", "model", "modality", "encoding_format", "dimensions", "user"}
_DATA_URI = re.compile(r"data:[^,]{0,256};base64,", re.IGNORECASE)

Reply = Mapping[str, object]


def parse(body: object, *, dim: int) -> EmbedRequest:
    """OpenAI's body as the contract's request. Raises InvalidRequest, naming the field or the input."""
    if not isinstance(body, Mapping):
        raise InvalidRequest("the request must be a JSON object")
    unknown = sorted(str(name)[:40] for name in body if name not in _FIELDS)
    if unknown:
        raise InvalidRequest(f"unknown field: {unknown[0]!a}")
    if body.get("dimensions") not in (None, dim) or isinstance(body.get("dimensions"), bool):
        raise InvalidRequest(f"dimensions can only be {dim}: the model has no other size")
    encoding = body.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise InvalidRequest("encoding_format must be 'float' or 'base64'")
    request = contract.parse_request(
        {
            "items": [_item(one, _modality(body)) for one in _inputs(body)],
            "model": body.get("model"),
            "encoding": encoding or "float",
        },
        strict=True,
    )
    if not isinstance(request, EmbedRequest):
        raise InvalidRequest("the request must hold inputs")
    for index, item in enumerate(request.items):
        if isinstance(item, Rejected):
            raise InvalidRequest(f"input[{index}]: {item.error.message}")
    return request


def _modality(body: Mapping[str, object]) -> str:
    modality = body.get("modality")
    if modality is None:
        return "text"
    if modality not in ("text", "image"):
        raise InvalidRequest("modality must be 'text' or 'image'")
    return str(modality)


def _inputs(body: Mapping[str, object]) -> Sequence[object]:
    given = body.get("input")
    if isinstance(given, str | Mapping):
        return [given]
    if not isinstance(given, list) or not given:
        raise InvalidRequest("input must be a string, an image, or a list of them that is not empty")
    if any(isinstance(one, int | list) for one in given):
        raise InvalidRequest("input holds token ids; send the text itself, since CLIP has its own tokenizer")
    return given


def _item(one: object, modality: str) -> object:
    """An input as an item of the contract, which judges whatever is left."""
    if isinstance(one, str):
        return _image(one) if modality == "image" else {"text": one}
    if isinstance(one, Mapping) and set(one) == {"image"} and isinstance(one["image"], str):
        return _image(one["image"])
    if isinstance(one, Mapping) and set(one) == {"text"}:
        return {"text": one["text"]}
    raise InvalidRequest('each input must be a string, {"text": TEXT} or {"image": URL or base64 data URI}')


def _image(image: str) -> dict[str, object]:
    if image[:5].lower() != "data:":
        return {"image_url": image}
    head = _DATA_URI.match(image)
    if head is None:
        raise InvalidRequest("a data URI must be of the form data:image/...;base64,...")
    return {"image_base64": image[head.end() :]}


def texts_of(request: EmbedRequest) -> list[str]:
    """The request's texts: images take no tokens."""
    sources = (item.source for item in request.items if isinstance(item, Item))
    return [source.text for source in sources if isinstance(source, Text)]


def count_tokens(texts: Sequence[str], tokenizer: Tokenizer, *, context_length: int) -> int:
    """Tokens that the texts take in the model, start and end included, after truncation."""
    return sum(len(tokenizer.encode(text, context_length - 2)) + 2 for text in texts)


def first_failure(reply: Reply) -> dict[str, object] | None:
    """The first item's failure in a batch reply, as a reply of its own: OpenAI's form has none by item."""
    results = reply.get("results")
    rows = results if isinstance(results, list) else []
    for index, result in enumerate(rows):
        if "error" in result:
            which = f"input[{index}]: " if len(rows) > 1 else ""
            return {**result, "error": which + result["error"]}
    return None


def success(reply: Reply, *, prompt_tokens: int) -> dict[str, object]:
    """A batch reply without failures in OpenAI's form, and its slowest item's `timings`, which OpenAI's has not."""
    results = reply.get("results")
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": result["embedding"]}
            for index, result in enumerate(results if isinstance(results, list) else ())
        ],
        "model": reply["model"],
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        "timings": slowest(reply),
    }


def failure(reply: Reply, status: int) -> dict[str, object]:
    """A failure in OpenAI's envelope; `code` is the contract's."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": reply["error"], "type": kind, "param": None, "code": reply["code"]}}
