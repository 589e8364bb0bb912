"""What a reply holds, how it is written and how it is read back."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from heimdex_clip.contract.requests import Encoding
from heimdex_clip.errors import WIRE_ERRORS, BadReply, ClipError, Internal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

_MAX_MESSAGE_CHARS = 500


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
