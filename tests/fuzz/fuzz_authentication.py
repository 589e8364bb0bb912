"""Signatures: nothing that was not signed is served, and only the errors that are promised come back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from heimdex_clip.contract import EmbedRequest, Rejected
from heimdex_clip.errors import AuthExpired, AuthFailed, ClipError, InvalidRequest, SettingsError
from heimdex_clip.signing import parse_keys, sign_v2, verify_v1
from tests.fuzz import serving
from tests.fuzz.target import Check, Target, check_error
from worker.authentication import AuthenticatedRequest, Authenticator, AuthPolicy

_KEYS = {"default": serving.SECRET, "next": "another-secret"}


@contextmanager
def _open(_model: Path, _work: Path) -> Iterator[Check]:
    policy = AuthPolicy(keys=_KEYS, window_s=120, audience="local", accept_v1=True, insecure=False)
    asked = Authenticator(policy, clock=lambda: serving.NOW)

    def check(data: bytes) -> None:
        text = data.decode(errors="surrogateescape")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        unsigned = _attempt(asked, value)
        if isinstance(unsigned, AuthenticatedRequest):
            assert isinstance(unsigned.request, EmbedRequest)
            assert all(isinstance(item, Rejected) for item in unsigned.request.items), "served without a signature"
            assert unsigned.kid is None
        _attempt(asked, serving.signed_in_place(value))
        if text.encode(errors="replace").decode() == text:
            _check_v2(asked, serving.addressed(text) if isinstance(value, dict) else text)
        _check_v1_alone(value)
        _check_keys(text)

    yield check


def _attempt(asked: Authenticator, job_input: object) -> AuthenticatedRequest | None:
    try:
        return asked.authenticate(job_input)
    except ClipError as error:
        check_error(error, AuthFailed, AuthExpired, InvalidRequest)
        return None


def _check_v2(asked: Authenticator, payload: str) -> None:
    auth = sign_v2(payload, secret=serving.SECRET)
    result = _attempt(asked, {"payload": payload, "auth": auth})
    assert result is None or result.kid == "default"
    # The same signature holds for nothing else, and under no other key.
    for changed, kid in ((payload + " ", "default"), (payload[:-1], "default"), (payload, "next")):
        if (changed, kid) != (payload, "default"):
            assert _attempt(asked, {"payload": changed, "auth": {**auth, "kid": kid}}) is None


def _check_v1_alone(value: object) -> None:
    fields = value if isinstance(value, dict) else {}
    url, auth = fields.get("image_url"), fields.get("auth")
    try:
        verify_v1(
            url if isinstance(url, str) else "",
            auth if isinstance(auth, dict) else {},
            keys=_KEYS,
            window_s=120,
            now=serving.NOW,
        )
    except ClipError as error:
        check_error(error, AuthFailed, AuthExpired)
    else:
        raise AssertionError("a v1 signature that nobody made")


def _check_keys(text: str) -> None:
    try:
        keys = parse_keys(text, text[:8])
    except SettingsError as error:
        check_error(error, SettingsError)
    else:
        assert all(keys.values())


def seeds() -> Sequence[bytes]:
    """Signatures in both forms, good, bad and odd."""
    good_v1 = {"ts": str(serving.NOW), "sig": "0" * 64}
    url = "https://example.com/a.jpg"
    values: list[object] = [
        {"image_url": url, "auth": "v1"},
        {"image_url": url, "auth": good_v1},
        {"image_url": url, "auth": {**good_v1, "ts": serving.NOW}},
        {"items": [{"image_url": url, "auth": "v1"}, {"text": "a", "auth": "v1"}]},
        {"payload": '{"text": "a"}', "auth": {"v": 2, "kid": "next", "sig": "f" * 64}},
        {"text": "a", "exp": serving.NOW + 60, "aud": "local"},
        {"text": "a"},
        {"op": "info"},
        "k1:first,k2:second",
        "default:a,default:b",
    ]
    return [json.dumps(value).encode() for value in values] + [b"k1:first,k2:second", b"a:b:c,,:,x"]


TARGET = Target(_open, seeds, json=True, runs=6000)
