"""The wire contract, shared by both sides: what a request may hold and what a reply holds.

A job's `input` is one of

- v1, kept for existing callers::

      {"image_url", "request_id"?, "normalize"?, "model"?, "encoding"?, "auth": {"ts", "sig"}}
      {"items": [{"image_url", "request_id"?, "normalize"?, "auth"}, ...], "model"?, "encoding"?}

- v2, everything under one signature: ``{"payload": "<JSON text>", "auth": {"v": 2, "kid", "sig"}}``;
  the payload is an object with `aud`, `exp` and one of `image_url`, `image_base64`, `text`, `items` or
  ``"op": "info"``.

This module checks form only. Signatures are checked in `heimdex_clip.signing`, limits by the service.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from heimdex_clip.errors import WIRE_ERRORS, BadReply, ClipError, Internal, InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Encoding: TypeAlias = Literal["float", "base64"]
T = TypeVar("T")

MAX_REQUEST_ID_CHARS = 256
MAX_URL_CHARS = 8192
MAX_TEXT_CHARS = 32768
_MAX_MESSAGE_CHARS = 500

_SOURCES = ("image_url", "image_base64", "text")
_ITEM_FIELDS = {*_SOURCES, "request_id", "normalize", "auth"}
_REQUEST_FIELDS = {*_ITEM_FIELDS, "items", "op", "model", "encoding", "aud", "exp"}


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """An image to download. `auth` is the item's own v1 signature, unverified, or None."""

    url: str
    auth: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class ImageData:
    """An image's encoded bytes, sent along."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Text:
    """A text to embed into the same space."""

    text: str


Source: TypeAlias = ImageUrl | ImageData | Text


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to embed. `normalize` asks for L2 norm 1."""

    source: Source
    request_id: str | None
    normalize: bool = True


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item of a batch that failed before any work: its neighbours go on."""

    error: ClipError
    request_id: str | None


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Items to embed; `batch` says whether the reply is a list, even of one."""

    items: tuple[Item | Rejected, ...]
    batch: bool
    model: str | None = None
    encoding: Encoding = "float"


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """``{"op": "info"}``: what the worker serves."""

    request_id: str | None = None


Request: TypeAlias = EmbedRequest | InfoRequest


def parse_request(body: object, *, strict: bool) -> Request:
    """Read a request's fields; `strict` refuses unknown ones (v2), else they are ignored (v1's callers).

    Raises InvalidRequest, naming the field. Inside a batch a bad item becomes a `Rejected` instead.
    """
    fields = _object(body, "the request")
    if strict:
        _refuse_unknown(fields, _REQUEST_FIELDS)
    op = fields.get("op")
    if op == "info":
        return InfoRequest(request_id_of(fields))
    if op not in (None, "embed"):
        raise InvalidRequest("op must be 'embed' or 'info'")
    model = fields.get("model")
    if model is not None and not isinstance(model, str):
        raise InvalidRequest("model must be a string")
    encoding = fields.get("encoding", "float")
    if encoding not in ("float", "base64"):
        raise InvalidRequest("encoding must be 'float' or 'base64'")
    items: tuple[Item | Rejected, ...]
    if "items" in fields:
        rows = fields["items"]
        if not isinstance(rows, list) or not rows:
            raise InvalidRequest("items must be a list with at least one item")
        if any(name in fields for name in _SOURCES):
            raise InvalidRequest("a request has either items or one image or text, not both")
        items = tuple(_parse_batch_item(row, strict=strict) for row in rows)
    else:
        items = (_parse_item(fields),)
    return EmbedRequest(items, batch="items" in fields, model=model, encoding=encoding)


def request_id_of(body: object) -> str | None:
    """The request's own id for a reply, None where it has none or no usable one. Never raises."""
    try:
        return _request_id(body) if isinstance(body, Mapping) else None
    except InvalidRequest:
        return None


def _parse_batch_item(row: object, *, strict: bool) -> Item | Rejected:
    try:
        fields = _object(row, "an item")
        if strict:
            _refuse_unknown(fields, _ITEM_FIELDS)
        return _parse_item(fields)
    except InvalidRequest as error:
        return Rejected(error, request_id_of(row))


def _parse_item(fields: Mapping[str, object]) -> Item:
    normalize = fields.get("normalize", True)
    if not isinstance(normalize, bool):
        raise InvalidRequest("normalize must be true or false")
    return Item(_parse_source(fields), _request_id(fields), normalize)


def _parse_source(fields: Mapping[str, object]) -> Source:
    given = [name for name in _SOURCES if fields.get(name) is not None]
    if len(given) != 1:
        raise InvalidRequest("exactly one of image_url, image_base64 and text is needed")
    name = given[0]
    if name == "image_url":
        auth = fields.get("auth")
        if auth is not None and not isinstance(auth, Mapping):
            raise InvalidRequest("auth must be an object")
        return ImageUrl(_text(fields[name], name, MAX_URL_CHARS), auth)
    if name == "text":
        return Text(_text(fields[name], name, MAX_TEXT_CHARS))
    return ImageData(_base64(fields[name]))


def _base64(value: object) -> bytes:
    if not isinstance(value, str) or not value:
        raise InvalidRequest("image_base64 must be a string that is not empty")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("image_base64 is not base64") from None


def _request_id(fields: Mapping[str, object]) -> str | None:
    value = fields.get("request_id")
    return None if value is None else _text(value, "request_id", MAX_REQUEST_ID_CHARS)


def _text(value: object, name: str, max_chars: int) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a string")
    if len(value) > max_chars:
        raise InvalidRequest(f"{name} has {len(value)} characters; at most {max_chars} are accepted")
    try:
        value.encode()
    except UnicodeEncodeError:
        # It has no UTF-8 form: a reply that echoed it could not be sent.
        raise InvalidRequest(f"{name} holds half of a surrogate pair") from None
    return value


def _object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{what} must be a JSON object")
    return value


def _refuse_unknown(fields: Mapping[str, object], known: set[str]) -> None:
    unknown = sorted(str(name)[:40] for name in fields if name not in known)
    if unknown:
        raise InvalidRequest(f"unknown field: {unknown[0]!a}")


# ---- replies -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Embedding:
    """One embedding as it came back.

    `vector` has `dim` floats (float32 values), L2 norm 1 when `normalized`. `timings` are milliseconds by
    stage. Two vectors may be compared only if their `model_digest` are equal or declared compatible. A client
    says in `backend` who gave it, and in `is_fallback` that this was not the backend it was meant for; neither travels.
    """

    request_id: str | None
    vector: tuple[float, ...]
    dim: int
    model: str
    pretrained: str
    normalized: bool
    model_digest: str
    lane: str
    timings: Mapping[str, float]
    truncated: bool = False
    backend: str = ""
    is_fallback: bool = False

    def as_list(self) -> list[float]:
        """The vector as a list of `dim` floats."""
        return list(self.vector)

    def as_array(self) -> NDArray[np.float32]:
        """The vector as float32 ``[dim]``, made anew at each call. Needs NumPy, which is imported only here."""
        import numpy as np

        return np.array(self.vector, np.float32)


def error_reply(error: ClipError, request_id: str | None) -> dict[str, object]:
    """A failure on the wire: ``{"error", "code", "retryable", "request_id"}``."""
    if error.code not in WIRE_ERRORS:
        error = Internal("Internal error")
    return {
        "error": error.message,
        "code": error.code,
        "retryable": error.retryable,
        "request_id": request_id,
    }


def error_from_reply(reply: Mapping[str, object]) -> ClipError:
    """The failure that `error_reply` wrote, as its class, on one line; an unknown code becomes Internal."""
    code, message, retryable = (reply.get(name) for name in ("code", "error", "retryable"))
    kind = WIRE_ERRORS.get(code, Internal) if isinstance(code, str) else Internal
    return kind(one_line(message) or kind.code, retryable=retryable if isinstance(retryable, bool) else None)


def one_line(message: object) -> str:
    """A message that came from elsewhere, fit for a log or a terminal; empty when it is not text."""
    words = " ".join(message.split()) if isinstance(message, str) else ""
    return "".join(char if char.isprintable() else "?" for char in words[:_MAX_MESSAGE_CHARS])


class VectorList(list[float]):
    """A vector in a reply: a list that keeps its numbers out of logs.

    The SDK formats each reply twice for messages that nobody prints, which took 0.4 ms of a job's 1.5 ms.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} floats>"


def embedding_reply(embedding: Embedding, encoding: Encoding) -> dict[str, object]:
    """A success on the wire; `encoding` "base64" is little-endian float32."""
    reply: dict[str, object] = {
        "request_id": embedding.request_id,
        "embedding": VectorList(embedding.vector) if encoding == "float" else encode_vector(embedding.vector),
        "dim": embedding.dim,
        "model": embedding.model,
        "pretrained": embedding.pretrained,
        "normalized": embedding.normalized,
        "timings": dict(embedding.timings),
        "model_digest": embedding.model_digest,
        "lane": embedding.lane,
    }
    if embedding.truncated:
        reply["truncated"] = True
    return reply


def parse_embedding(reply: object) -> Embedding:
    """A success as `embedding_reply` wrote it, in either encoding. Raises BadReply, naming the field at fault."""
    if not isinstance(reply, Mapping):
        raise BadReply("the reply is not a JSON object")
    try:
        vector = decode_vector(reply.get("embedding"))
    except ValueError as error:
        raise BadReply(f"the reply's embedding cannot be read: {error}") from None
    if not all(map(math.isfinite, vector)):
        raise BadReply("the reply's embedding is not finite")
    dim = reply_field(reply, "dim", int)
    if dim != len(vector) or not dim:
        raise BadReply(f"the reply's dim is {dim}, but its embedding has {len(vector)} numbers")
    request_id = reply.get("request_id")
    timings = reply_field(reply, "timings", dict)
    if not all(isinstance(name, str) and type(ms) in (int, float) for name, ms in timings.items()):
        raise BadReply("the reply's timings are not numbers by name")
    return Embedding(
        request_id=None if request_id is None else reply_field(reply, "request_id", str),
        vector=vector,
        dim=dim,
        model=reply_field(reply, "model", str),
        pretrained=reply_field(reply, "pretrained", str),
        normalized=reply_field(reply, "normalized", bool),
        model_digest=reply_field(reply, "model_digest", str),
        lane=reply_field(reply, "lane", str),
        timings=timings,
        truncated=reply_field(reply, "truncated", bool) if "truncated" in reply else False,
    )


def reply_field(reply: Mapping[str, object], name: str, kind: type[T]) -> T:
    """A field of a reply that has exactly this type. Raises BadReply, naming it."""
    # By type, not isinstance: True is an int, and no number of a reply is a boolean.
    value = reply.get(name)
    if type(value) is not kind:
        raise BadReply(f"the reply's {name} is {'missing' if value is None else f'not {_JSON_NAMES[kind]}'}")
    return value


_JSON_NAMES: Mapping[type, str] = {
    int: "a whole number",
    str: "a string",
    bool: "true or false",
    dict: "an object",
}


def encode_vector(vector: Sequence[float]) -> str:
    """Base64 of the vector as little-endian float32, as OpenAI's API writes it."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def decode_vector(value: object) -> tuple[float, ...]:
    """The vector of either encoding. Raises ValueError when it is neither."""
    if isinstance(value, str):
        data = base64.b64decode(value, validate=True)
        if len(data) % 4:
            raise ValueError("base64 does not hold whole float32 values")
        return struct.unpack(f"<{len(data) // 4}f", data)
    if isinstance(value, list) and all(type(x) in (float, int) for x in value):
        try:
            return tuple(float(x) for x in value)
        except OverflowError:
            raise ValueError("a number is too large for a float") from None
    raise ValueError("it is neither a list of numbers nor base64")
