"""Who asks: from a job's raw input to a request whose every part is covered by a signature.

v2 signs the whole payload, so anything may stand in it. v1 signs an image URL and its time only, so a v1 request
may ask for images by URL and for nothing else. A request that looks like v2 is never tried as v1.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

from heimdex_clip import signing
from heimdex_clip.contract import EmbedRequest, ImageUrl, Item, Rejected, Request, parse_request
from heimdex_clip.errors import AuthExpired, AuthFailed, ClipError, InvalidRequest, SettingsError

MAX_PAYLOAD_CHARS = 20 * 1024 * 1024
"""As much as the platform carries in one job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthPolicy:
    """Whose signatures are accepted, and for how long.

    `keys` are kid -> secret. `window_s` is how far a v1 time stamp may lie from now, `max_lifetime_s` how far
    ahead a v2 `exp` may lie. `audience` is what a v2 payload must name. `insecure` accepts everything
    unsigned; it goes with no keys at all. Raises SettingsError for an empty secret, or keys beside `insecure`.
    """

    keys: Mapping[str, str] = field(repr=False)
    window_s: int
    audience: str
    accept_v1: bool
    insecure: bool
    max_lifetime_s: int = 86400

    def __post_init__(self) -> None:
        if not all(self.keys.values()):
            raise SettingsError("a signing secret is empty; make one with: openssl rand -hex 32")
        if self.insecure and self.keys:
            raise SettingsError("unsigned requests can be accepted only where no signing secret is set")


@dataclass(frozen=True, slots=True)
class AuthenticatedRequest:
    """A request that may be served.

    `kid` names the key that signed it: None when nothing had to be signed, or a v1 batch's items differ in it.
    `expires_at` is a v2 payload's `exp` in Unix seconds, else None.
    """

    request: Request
    kid: str | None
    expires_at: float | None


class Authenticator:
    """Applies one policy. `clock` gives Unix seconds."""

    def __init__(self, policy: AuthPolicy, clock: Callable[[], float] = time.time) -> None:
        self._policy = policy
        self._clock = clock

    def authenticate(self, job_input: object, *, max_payload_chars: int = MAX_PAYLOAD_CHARS) -> AuthenticatedRequest:
        """Check a job's input. Raises AuthFailed, AuthExpired or InvalidRequest, and nothing else.

        In a v1 batch an item whose signature does not hold becomes a `Rejected`, and its neighbours go on.
        """
        if not isinstance(job_input, Mapping):
            raise InvalidRequest("the input must be a JSON object")
        if _is_v2(job_input):
            return self._v2(job_input, max_payload_chars)
        if self._policy.insecure:
            return AuthenticatedRequest(parse_request(job_input, strict=False), None, None)
        if not self._policy.accept_v1:
            raise AuthFailed()
        return self._v1(parse_request(job_input, strict=False))

    def _v2(self, fields: Mapping[str, object], max_payload_chars: int) -> AuthenticatedRequest:
        payload, auth = fields.get("payload"), fields.get("auth")
        if not isinstance(payload, str):
            raise InvalidRequest("payload must be a string of JSON")
        if len(payload) > max_payload_chars:
            raise InvalidRequest(f"payload has {len(payload)} characters; at most {max_payload_chars} are accepted")
        if self._policy.insecure:
            return AuthenticatedRequest(parse_request(_parse_json(payload), strict=True), None, None)
        kid = signing.verify_v2(payload, auth if isinstance(auth, Mapping) else {}, keys=self._policy.keys)
        signed = _parse_json(payload)
        expires_at = self._check_claims(signed)
        return AuthenticatedRequest(parse_request(signed, strict=True), kid, expires_at)

    def _check_claims(self, signed: Mapping[str, object]) -> float:
        """Hold `aud` and `exp` to the policy; returns `exp`."""
        if signed.get("aud") != self._policy.audience:
            raise AuthFailed()
        exp = signed.get("exp")
        if type(exp) is not int:
            raise InvalidRequest("exp must be a whole number of Unix seconds")
        now = self._clock()
        if exp <= now:
            raise AuthExpired("The signature has expired")
        if exp > now + self._policy.max_lifetime_s:
            raise AuthFailed()
        return float(exp)

    def _v1(self, request: Request) -> AuthenticatedRequest:
        if not isinstance(request, EmbedRequest):
            raise AuthFailed()
        kids: set[str] = set()
        items: list[Item | Rejected] = []
        for item in request.items:
            if isinstance(item, Rejected):
                items.append(item)
                continue
            try:
                kids.add(self._verify_v1(item))
            except ClipError as error:
                if not request.batch:
                    raise
                items.append(Rejected(error, item.request_id))
            else:
                items.append(item)
        kid = kids.pop() if len(kids) == 1 else None
        return AuthenticatedRequest(replace(request, items=tuple(items)), kid, None)

    def _verify_v1(self, item: Item) -> str:
        source = item.source
        if not isinstance(source, ImageUrl):
            raise AuthFailed()
        return signing.verify_v1(
            source.url,
            source.auth or {},
            keys=self._policy.keys,
            window_s=self._policy.window_s,
            now=self._clock(),
        )


def _is_v2(fields: Mapping[str, object]) -> bool:
    auth = fields.get("auth")
    return "payload" in fields or (isinstance(auth, Mapping) and auth.get("v") == 2)


def _parse_json(text: str) -> Mapping[str, object]:
    """A JSON object that every parser reads alike: no field twice, no NaN, nothing infinite."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    # ValueError also for an integer of thousands of digits, RecursionError for deep nesting.
    except (ValueError, RecursionError):
        raise InvalidRequest("payload is not JSON, or holds a field twice, or a number that is not finite") from None
    if not isinstance(value, dict):
        raise InvalidRequest("payload must hold a JSON object")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field stands twice")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is not finite")
    return value
