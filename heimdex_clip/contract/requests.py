"""What a request may hold, and how it is read.

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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from heimdex_clip.errors import ClipError, InvalidRequest

Encoding: TypeAlias = Literal["float", "base64"]

MAX_REQUEST_ID_CHARS = 256
MAX_URL_CHARS = 8192
MAX_TEXT_CHARS = 32768
MAX_ITEMS = 4096
"""As many as any worker takes. Without it, who can sign nothing could have a hundred thousand items read."""

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
        if len(rows) > MAX_ITEMS:
            raise InvalidRequest(f"the request has {len(rows)} items; no worker takes more than {MAX_ITEMS}")
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
