"""The worker's replies as both of its doors give them, held to what was asked for. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from heimdex_clip import _request
from heimdex_clip.contract import Embedding, Source, error_from_reply, parse_embedding
from heimdex_clip.errors import BadReply, ClipError, InvalidRequest


def one_request(source: Source, request_id: str, *, normalize: bool, encoding: str) -> dict[str, object]:
    """A request's fields for one source. Raises InvalidRequest for what no worker would take."""
    fields = {**_request.source_fields(source), "request_id": request_id, "normalize": normalize}
    if encoding != "float":
        fields["encoding"] = encoding
    _request.check(fields)
    return fields


def batch_request(
    sources: Sequence[Source], request_ids: Sequence[str], *, normalize: bool
) -> tuple[dict[str, object], list[object]]:
    """A request's fields for several, and the items among them. Raises InvalidRequest, also for none at all."""
    items: list[object] = [
        {**_request.source_fields(source), "request_id": own_id, "normalize": normalize}
        for source, own_id in zip(sources, request_ids, strict=True)
    ]
    fields: dict[str, object] = {"items": items, "encoding": "base64"}
    _request.check(fields)
    return fields, items


def read_one(output: object, request_id: str, *, normalize: bool) -> Embedding:
    """The embedding that was asked for. Raises BadReply for any other."""
    embedding = parse_embedding(output)
    if embedding.request_id != request_id:
        raise BadReply("the reply's request_id is not the request's")
    if embedding.normalized is not normalize:
        raise BadReply("the reply's normalized is not what was asked for")
    return embedding


def read_batch(output: object, request_ids: Sequence[str], *, normalize: bool) -> list[Embedding | ClipError]:
    """The results that were asked for, in order. Raises BadReply for any others."""
    rows = output.get("results") if isinstance(output, dict) else None
    if not isinstance(rows, list) or len(rows) != len(request_ids):
        raise BadReply(f"the reply's results are not a list of {len(request_ids)}")
    return [_read_row(row, own_id, normalize=normalize) for row, own_id in zip(rows, request_ids, strict=True)]


def _read_row(row: object, request_id: str, *, normalize: bool) -> Embedding | ClipError:
    if isinstance(row, dict) and row.get("error"):
        return error_from_reply(row)
    return read_one(row, request_id, normalize=normalize)


def require_batches(version: int) -> None:
    """Raises InvalidRequest where signatures cover one URL only."""
    if version == 1:
        raise InvalidRequest("a batch needs auth_version=2")
