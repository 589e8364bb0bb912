"""One endpoint as both clients see it: settings checked, jobs built, replies read. No I/O."""

from __future__ import annotations

import math
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar
from urllib.parse import urlsplit

from heimdex_clip import _request
from heimdex_clip._exchange import Exchange, Job, run_job
from heimdex_clip.contract import Embedding, error_from_reply, parse_embedding
from heimdex_clip.errors import BadReply, ClipError, InvalidRequest, SettingsError
from heimdex_clip.signing import DEFAULT_KID, sign_v2

DEFAULT_BASE_URL = "https://api.runpod.ai/v2"
MAX_TIMEOUT_S = 3600.0
_V1_WINDOW_S = 120  # the worker's default; a v1 job that waited longer would only be refused

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task(Generic[T]):
    """A job under way: the exchange to drive, and how to read its output."""

    exchange: Exchange
    read: Callable[[object], T]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to send, how to sign, how long to try. `repr` shows no secret."""

    url: str
    signer: _request.Signer = field(repr=False)
    timeout_s: float
    attempt_timeout_s: float
    clock: Callable[[], float]
    spread: Callable[[float], float]

    @classmethod
    def checked(
        cls,
        endpoint_id: str,
        secret: str,
        *,
        api_key: str,
        kid: str | None,
        base_url: str,
        timeout_s: float,
        attempt_timeout_s: float,
        auth_version: int,
        clock: Callable[[], float],
        spread: Callable[[float], float],
    ) -> Self:
        """Check every value. Raises SettingsError, which never quotes a key or secret."""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", endpoint_id, re.ASCII):
            raise SettingsError(f"endpoint_id {endpoint_id!r} must be letters, digits, _ and -")
        # Anything else would surface as a header error that quotes the key.
        if not re.fullmatch(r"[\x21-\x7e]+", api_key, re.ASCII):
            raise SettingsError("api_key must be printable ASCII without spaces, and not empty")
        if auth_version not in (1, 2):
            raise SettingsError(f"auth_version must be 1 or 2, not {auth_version!r}")
        for name, value in (("timeout_s", timeout_s), ("attempt_timeout_s", attempt_timeout_s)):
            if not (math.isfinite(value) and 0 < value <= MAX_TIMEOUT_S):
                raise SettingsError(f"{name} must be above 0 and at most {MAX_TIMEOUT_S:g}, not {value!r}")
        signer = _request.Signer(secret, endpoint_id, auth_version, DEFAULT_KID if kid is None else kid)
        sign_v2("", secret=signer.secret, kid=signer.kid)  # refuses what cannot sign, now rather than at the first call
        url = f"{_checked_url(base_url)}/{endpoint_id}"
        return cls(url, signer, timeout_s, attempt_timeout_s, clock, spread)

    def embed(self, source: Mapping[str, str], *, request_id: str | None, normalize: bool) -> Task[Embedding]:
        """A job for one image or text. Raises InvalidRequest for what no worker would take."""
        own_id = uuid.uuid4().hex if request_id is None else request_id
        fields = {**source, "request_id": own_id, "normalize": normalize, **self._encoding()}
        _request.check(fields)
        return Task(self._exchange(fields), lambda output: _read_one(output, own_id, normalize=normalize))

    def embed_batch(
        self, sources: Sequence[Mapping[str, str]], *, normalize: bool
    ) -> Task[list[Embedding | ClipError]]:
        """A job for several. Raises InvalidRequest when there are none, or one that no worker would take."""
        if self.signer.version == 1:
            raise InvalidRequest("a batch needs auth_version=2")
        ids = [uuid.uuid4().hex for _ in sources]
        items = [
            {**source, "request_id": own_id, "normalize": normalize}
            for source, own_id in zip(sources, ids, strict=True)
        ]
        fields = {"items": items, **self._encoding()}
        _request.check(fields)
        return Task(self._exchange(fields, items), lambda output: _read_batch(output, ids, normalize=normalize))

    def _encoding(self) -> Mapping[str, str]:
        # A quarter of the bytes, and exact. v1's older workers may not know it.
        return {"encoding": "base64"} if self.signer.version == 2 else {}

    def _exchange(self, fields: Mapping[str, object], items: Sequence[object] = ()) -> Exchange:
        def build(ttl_s: float, execution_timeout_s: float) -> bytes:
            body = _request.job_body(
                self.signer,
                fields,
                now=time.time(),
                ttl_s=min(ttl_s, _V1_WINDOW_S) if self.signer.version == 1 else ttl_s,
                execution_timeout_s=execution_timeout_s,
            )
            _request.check_size(body, items)
            return body

        return run_job(Job(build, self.timeout_s, self.attempt_timeout_s, self.clock, self.spread))


def _checked_url(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        _ = parts.port  # raises ValueError when it is none
    except ValueError:
        usable = False
    if not usable or not base_url.isascii() or not base_url.isprintable() or "@" in base_url:
        raise SettingsError("base_url must be an http or https URL without user, query and fragment")
    return base_url.rstrip("/")


def _read_one(output: object, request_id: str, *, normalize: bool) -> Embedding:
    embedding = parse_embedding(output)
    if embedding.request_id != request_id:
        raise BadReply("the reply's request_id is not the request's")
    if embedding.normalized is not normalize:
        raise BadReply("the reply's normalized is not what was asked for")
    return embedding


def _read_batch(output: object, request_ids: Sequence[str], *, normalize: bool) -> list[Embedding | ClipError]:
    rows = output.get("results") if isinstance(output, Mapping) else None
    if not isinstance(rows, list) or len(rows) != len(request_ids):
        raise BadReply(f"the reply's results are not a list of {len(request_ids)}")
    return [_read_row(row, own_id, normalize=normalize) for row, own_id in zip(rows, request_ids, strict=True)]


def _read_row(row: object, request_id: str, *, normalize: bool) -> Embedding | ClipError:
    if isinstance(row, Mapping) and row.get("error"):
        return error_from_reply(row)
    return _read_one(row, request_id, normalize=normalize)
