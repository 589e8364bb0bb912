"""Signatures that were true of something else: extended, waited for too long, or carried to another place."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest

from heimdex_clip.errors import AuthFailed
from heimdex_clip.signing import V2_PREFIX, sign_v2, verify_v1, verify_v2
from tests.hostile.rig import serving
from tests.hostile.sha256 import padding, resumed
from tests.worker.test_service import SECRET, picture

SUFFIXES = ("x", ', "image_url": "http://evil.example/"}', "|1800000000", "\x00", "\u0663")


def test_the_attack_by_length_extension_works_where_it_can() -> None:
    """On a hash of secret and message joined, so that the next test's forgeries are worth refusing."""
    message, suffix = b"payload", b"more"
    digest = hashlib.sha256(SECRET.encode() + message).digest()
    glue = padding(len(SECRET) + len(message))
    forged = resumed(digest, len(SECRET) + len(message) + len(glue), suffix)
    assert forged == hashlib.sha256(SECRET.encode() + message + glue + suffix).digest()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("secret_chars", [0, len(SECRET), 64])
def test_no_signature_can_be_extended(suffix: str, secret_chars: int) -> None:
    """By the hash's own padding, for each guess of what was hashed before it; nor does plain appending do."""
    payload = json.dumps({"text": "a dog"})
    sig = sign_v2(payload, secret=SECRET)["sig"]
    hashed = secret_chars + len(V2_PREFIX) + len(payload)
    glue = padding(hashed)
    forged = resumed(bytes.fromhex(sig), hashed + len(glue), suffix.encode()).hex()
    for extended in (payload + glue.decode("latin-1") + suffix, payload + suffix):
        for tried in (forged, sig):
            with pytest.raises(AuthFailed):
                verify_v2(extended, {"v": 2, "kid": "default", "sig": tried}, keys={"default": SECRET})
            with pytest.raises(AuthFailed):
                verify_v1(extended, {"ts": "1800000000", "sig": tried}, keys={"k": SECRET}, window_s=9, now=1.8e9)


async def test_a_job_that_waited_longer_than_its_signature_lives_is_expired(folder: Path) -> None:
    def job(lifetime_s: int) -> dict[str, object]:
        payload = json.dumps({"aud": "local", "exp": int(time.time()) + lifetime_s, "image_base64": picture()})
        return {"payload": payload, "auth": sign_v2(payload, secret=SECRET)}

    async with serving(folder, lambda request: request.answer(b"")) as rig:
        assert "embedding" in await rig.service.handle(job(60))
        reply = await rig.service.handle(job(-1))
        assert (reply["code"], reply["retryable"]) == ("AUTH_EXPIRED", True)  # signed anew it may pass
