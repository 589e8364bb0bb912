"""What a client sends: the job's JSON, signed for the moment of its sending. Pure but for its arguments."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from heimdex_clip import contract
from heimdex_clip.errors import InvalidRequest
from heimdex_clip.signing import DEFAULT_KID, sign_v1, sign_v2

MAX_RUN_BYTES = 10_000_000
"""The largest body that the platform takes on /run."""
MAX_RUNSYNC_BYTES = 20_000_000
"""The largest body that the platform takes on /runsync."""

_MIN_TTL_S = 10
_MIN_EXECUTION_TIMEOUT_S = 6  # the platform wants more than 5
_SKEW_S = 60  # how far a worker's clock may be ahead of ours


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, and for which endpoint. `version` is 1 or 2; `kid` and `audience` count for 2 only."""

    secret: str = field(repr=False)
    audience: str
    version: int = 2
    kid: str = DEFAULT_KID

    def job_input(self, fields: Mapping[str, object], *, now: float, lifetime_s: int) -> dict[str, object]:
        """A job's `input` that says `fields`, signed at `now` (Unix seconds) for `lifetime_s`.

        v1 knows no lifetime but the worker's own window. Raises InvalidRequest when v1 cannot say it.
        """
        if self.version == 1:
            url = fields.get("image_url")
            if not isinstance(url, str):
                raise InvalidRequest("v1 signatures cover one image_url; everything else needs auth_version=2")
            return {**fields, "auth": sign_v1(url, secret=self.secret, ts=int(now))}
        claims = {**fields, "aud": self.audience, "exp": math.ceil(now) + lifetime_s}
        payload = to_json(claims).decode()
        return {"payload": payload, "auth": sign_v2(payload, secret=self.secret, kid=self.kid)}


def job_body(
    signer: Signer, fields: Mapping[str, object], *, now: float, ttl_s: float, execution_timeout_s: float
) -> bytes:
    """The body of /run and /runsync: signed input, and a policy that lets the platform drop what is too late.

    The signature outlives the job's time to live, since a worker checks it when the job leaves the queue.
    """
    ttl = max(_MIN_TTL_S, math.ceil(ttl_s))
    policy = {
        "ttl": ttl * 1000,
        "executionTimeout": max(_MIN_EXECUTION_TIMEOUT_S, math.ceil(execution_timeout_s)) * 1000,
    }
    return to_json({"input": signer.job_input(fields, now=now, lifetime_s=ttl + _SKEW_S), "policy": policy})


def source_fields(source: contract.Source) -> dict[str, object]:
    """A source as the request's field for it."""
    match source:
        case contract.ImageUrl(url=url):
            return {"image_url": url}
        case contract.ImageData(data=data):
            return {"image_base64": base64.b64encode(data).decode()}
        case contract.Text(text=text):
            return {"text": text}


def check(fields: Mapping[str, object]) -> None:
    """Refuse what the worker would refuse for its form. Raises InvalidRequest, naming the field."""
    request = contract.parse_request(fields, strict=True)
    rejected = (item for item in getattr(request, "items", ()) if isinstance(item, contract.Rejected))
    if first := next(rejected, None):
        raise first.error


def check_size(body: bytes, items: Sequence[object] = (), *, max_bytes: int = MAX_RUNSYNC_BYTES) -> None:
    """Refuse a body that the platform would refuse. Raises InvalidRequest with the number that fits.

    `items` are those of a batch: the message then says how many of them fit into one request.
    """
    excess = len(body) - max_bytes
    if excess <= 0:
        return
    message = f"the request has {len(body)} bytes; the platform takes at most {max_bytes}"
    if items:
        # Measured twice encoded, as v2 sends them: JSON text inside JSON.
        sizes = [len(to_json(to_json(item).decode())) for item in items]
        room = max_bytes - (len(body) - sum(sizes))
        fitting = sum(total <= room for total in accumulate(sizes))
        message += f", which the first {fitting} of these {len(items)} items fit into"
    raise InvalidRequest(message)


def to_json(value: object) -> bytes:
    """Compact UTF-8 JSON. Raises InvalidRequest for what has no such form."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (UnicodeEncodeError, ValueError, TypeError):
        raise InvalidRequest("the request has no JSON form") from None
