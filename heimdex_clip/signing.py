"""HMAC-SHA256 signatures of requests, as the caller makes them and as the worker checks them.

v1 (kept for existing callers) covers the image URL and the time only::

    hex(HMAC-SHA256(secret, "{image_url}|{ts}"))          ts: ten ASCII digits, Unix seconds

v2 covers the exact bytes of the whole payload, options, audience and expiry included::

    hex(HMAC-SHA256(secret, "clip-embed/v2\\n" + payload))

The receiver verifies the bytes first and parses them afterwards, so there is no canonical form to
disagree about. Both are pure functions of their arguments but for the clock default of `sign_v1`.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Mapping
from typing import TypedDict

from heimdex_clip.errors import AuthExpired, AuthFailed, InvalidRequest, SettingsError

V2_PREFIX = b"clip-embed/v2\n"
DEFAULT_KID = "default"

# int() also takes "1_7", "+1", " 1" and other scripts' digits; any of them would move the delimiter.
_TS = re.compile(r"[0-9]{10}", re.ASCII)
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class AuthV1(TypedDict):
    """`auth` of a v1 request."""

    ts: str
    sig: str


class AuthV2(TypedDict):
    """`auth` of a v2 request."""

    v: int
    kid: str
    sig: str


def _mac(secret: str, message: bytes) -> str:
    if not secret:
        raise SettingsError("the signing secret is empty; make one with: openssl rand -hex 32")
    try:
        key = secret.encode()
    # Only reached with bytes of the environment that are not UTF-8; the error would quote the secret.
    except UnicodeEncodeError:
        raise SettingsError("the signing secret is not UTF-8 text; make one with: openssl rand -hex 32") from None
    return hmac.digest(key, message, "sha256").hex()


def sign_v1(image_url: str, *, secret: str, ts: int | None = None) -> AuthV1:
    """Sign an image URL with v1.

    `ts` is Unix seconds (now when omitted). Raises SettingsError for an empty secret or a `ts` that does
    not have ten digits, InvalidRequest for a URL that has no UTF-8 form.
    """
    stamp = str(int(time.time()) if ts is None else ts)
    if not _TS.fullmatch(stamp):
        raise SettingsError(f"ts must be Unix seconds with ten digits, not {stamp!r}")
    return {"ts": stamp, "sig": _mac(secret, _to_sign(image_url, "image_url") + b"|" + stamp.encode())}


def sign_v2(payload: str, *, secret: str, kid: str = DEFAULT_KID) -> AuthV2:
    """Sign a payload's exact text with v2, under the key named `kid`.

    Raises SettingsError for an empty secret or a `kid` that is not 1 to 64 of letters, digits and ``._-``,
    InvalidRequest for a payload that has no UTF-8 form.
    """
    if not _KID.fullmatch(kid):
        raise SettingsError(f"kid must be 1 to 64 of A-Z a-z 0-9 . _ -, not {kid!r}")
    return {"v": 2, "kid": kid, "sig": _mac(secret, V2_PREFIX + _to_sign(payload, "the payload"))}


def verify_v1(image_url: str, auth: Mapping[str, object], *, keys: Mapping[str, str], window_s: int, now: float) -> str:
    """Check a v1 signature against every key, then its time; returns the `kid` that holds.

    Raises AuthFailed when no key fits or `ts` lies more than `window_s` in the future, AuthExpired when
    the signature holds but is older than `window_s`.
    """
    ts, sig = auth.get("ts"), auth.get("sig")
    # Bounded first: str() refuses integers of thousands of digits with a ValueError.
    stamp = str(ts) if type(ts) is int and 0 <= ts < 10**10 else ts
    if not isinstance(stamp, str) or not _TS.fullmatch(stamp):
        raise AuthFailed()
    message = _received(image_url) + b"|" + stamp.encode()
    kid = _first_match(message, sig, keys)
    age_s = now - int(stamp)
    if age_s > window_s:
        raise AuthExpired(f"The signature is {age_s:.0f} s old; at most {window_s} s are accepted")
    if age_s < -window_s:
        raise AuthFailed()
    return kid


def verify_v2(payload: str, auth: Mapping[str, object], *, keys: Mapping[str, str]) -> str:
    """Check a v2 signature over the payload's exact text; returns its `kid`.

    Raises AuthFailed. Audience and expiry stand inside the payload: see `heimdex_clip.contract`.
    """
    kid = auth.get("kid")
    if auth.get("v") != 2 or not isinstance(kid, str) or kid not in keys:
        raise AuthFailed()
    return _first_match(V2_PREFIX + _received(payload), auth.get("sig"), {kid: keys[kid]})


def parse_keys(secrets: str, single: str) -> dict[str, str]:
    """Read EMBEDDING_HMAC_SECRETS (`kid:secret,kid:secret`) and EMBEDDING_HMAC_SECRET (kid `default`).

    Returns kid -> secret, empty when both are. Raises SettingsError without ever quoting a secret.
    """
    keys: dict[str, str] = {}
    for position, part in enumerate(filter(None, (p.strip() for p in secrets.split(","))), start=1):
        kid, colon, secret = part.partition(":")
        if not colon or not secret or not _KID.fullmatch(kid):
            raise SettingsError(f"EMBEDDING_HMAC_SECRETS: entry {position} is not of the form kid:secret")
        if kid in keys:
            raise SettingsError(f"EMBEDDING_HMAC_SECRETS: kid {kid!r} stands twice")
        keys[kid] = secret
    if single:
        if keys.get(DEFAULT_KID, single) != single:
            raise SettingsError(
                "EMBEDDING_HMAC_SECRET differs from the kid 'default' of EMBEDDING_HMAC_SECRETS; keep one"
            )
        keys[DEFAULT_KID] = single
    for secret in keys.values():
        _mac(secret, b"")  # a secret that cannot sign stops the start, not each job
    return keys


def _to_sign(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} holds half of a surrogate pair") from None


def _received(text: str) -> bytes:
    """UTF-8; a lone surrogate can have no agreed bytes, so nothing signed can hold one."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise AuthFailed() from None


def _first_match(message: bytes, sig: object, keys: Mapping[str, str]) -> str:
    # Compared as bytes: compare_digest raises TypeError on a str that is not ASCII.
    if not isinstance(sig, str) or not _HEX_DIGEST.fullmatch(sig):
        raise AuthFailed()
    matches = [kid for kid, secret in keys.items() if hmac.compare_digest(_mac(secret, message).encode(), sig.encode())]
    if not matches:
        raise AuthFailed()
    return matches[0]
