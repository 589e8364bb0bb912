"""The client's environment: what it takes, what it refuses in one line, and what `off` gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from heimdex_clip import AsyncClipClient, ClipClient, Disabled
from heimdex_clip._settings import ClientSettings
from heimdex_clip.disabled import AsyncDisabledClient, DisabledClient
from heimdex_clip.errors import SettingsError

RUNPOD = {"RUNPOD_API_KEY": "k-never", "RUNPOD_CLIP_ENDPOINT_ID": "e", "EMBEDDING_HMAC_SECRET": "s-never"}
DOCUMENT = Path(__file__).parents[2] / "docs" / "client.md"


def test_the_defaults_are_the_documented_ones() -> None:
    settings = ClientSettings.read({**RUNPOD, "RUNPOD_TIMEOUT_S": "", "CLIP_FALLBACK_BACKEND": " "})
    assert (settings.backend, settings.fallback, settings.timeout_s, settings.attempt_timeout_s) == (
        "runpod",
        "off",
        60.0,
        20.0,
    )
    assert "never" not in repr(settings)


def test_reads_the_process_environment_when_given_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_INFERENCE_BACKEND", "off")
    assert isinstance(ClipClient.from_env(), DisabledClient)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        (
            {"CLIP_INFERENCE_BACKEND": "cloud"},
            "CLIP_INFERENCE_BACKEND='cloud': must be one of runpod, http, local, off",
        ),
        ({}, "RUNPOD_API_KEY is not set; the backend runpod needs it"),
        ({**RUNPOD, "EMBEDDING_HMAC_SECRET": ""}, "EMBEDDING_HMAC_SECRET is not set"),
        ({"CLIP_INFERENCE_BACKEND": "http"}, "CLIP_HTTP_URL is not set"),
        ({"CLIP_INFERENCE_BACKEND": "local"}, "CLIP_MODEL_DIR is not set"),
        ({**RUNPOD, "CLIP_FALLBACK_BACKEND": "local"}, "CLIP_MODEL_DIR is not set"),
        ({**RUNPOD, "CLIP_FALLBACK_BACKEND": "runpod"}, "CLIP_FALLBACK_BACKEND='runpod': must be one of"),
        (
            {"CLIP_INFERENCE_BACKEND": "local", "CLIP_MODEL_DIR": "m", "CLIP_FALLBACK_BACKEND": "local"},
            "is CLIP_INFERENCE_BACKEND itself",
        ),
        ({**RUNPOD, "RUNPOD_TIMEOUT_S": "soon"}, "RUNPOD_TIMEOUT_S='soon': must be a number from 0.1 to 3600"),
        ({**RUNPOD, "RUNPOD_TIMEOUT_S": "1e9"}, "RUNPOD_TIMEOUT_S"),
        ({**RUNPOD, "RUNPOD_ATTEMPT_TIMEOUT_S": "0"}, "RUNPOD_ATTEMPT_TIMEOUT_S"),
        ({**RUNPOD, "EXPECTED_MODEL_DIGEST": "abc"}, "EXPECTED_MODEL_DIGEST='abc': must be 16 lower-case hex digits"),
        ({**RUNPOD, "CLIP_CANARY_PERCENT": "101"}, "CLIP_CANARY_PERCENT"),
        ({**RUNPOD, "ALLOWED_PRIVATE_CIDRS": "here"}, "ALLOWED_PRIVATE_CIDRS"),
        ({**RUNPOD, "ALLOWED_IMAGE_PORTS": "80,0"}, "ALLOWED_IMAGE_PORTS"),
        ({**RUNPOD, "ALLOWED_IMAGE_HOSTS": "*.example.com"}, "ALLOWED_IMAGE_HOSTS"),
        ({**RUNPOD, "ALLOWED_IMAGE_HOSTS": "example.com,"}, "ALLOWED_IMAGE_HOSTS"),
        ({**RUNPOD, "ALLOWED_IMAGE_HOSTS": "10.1"}, "ALLOWED_IMAGE_HOSTS"),
        ({**RUNPOD, "RUNPOD_ENDPOINT_BASE_URL": "ftp://x"}, "base_url"),
        ({**RUNPOD, "RUNPOD_API_KEY": "never\u00fc"}, "api_key"),
    ],
)
def test_a_bad_variable_is_one_line_that_names_it(environ: dict[str, str], named: str) -> None:
    for kind in (ClipClient, AsyncClipClient):
        with pytest.raises(SettingsError) as raised:
            kind.from_env(environ)
        assert named in str(raised.value)
        assert "\n" not in str(raised.value)
        assert "never" not in str(raised.value)


async def test_off_gives_typed_nothing() -> None:
    environ = {"CLIP_INFERENCE_BACKEND": "off"}
    off, quiet = ClipClient.from_env(environ), AsyncClipClient.from_env(environ)
    assert isinstance(off, DisabledClient)
    assert isinstance(quiet, AsyncDisabledClient)
    with off:
        assert off.embed_image("https://x", request_id="r") == Disabled("r")
        assert off.embed_text("x") == off.info() == Disabled()
        assert off.embed_images(["a", b"b"]) == [Disabled(), Disabled()]
        assert not off.health().ready
    async with quiet:
        assert await quiet.embed_image(bytes=b"x", request_id="r") == Disabled("r")
        assert await quiet.embed_text("x") == await quiet.info() == Disabled()
        assert await quiet.embed_images([Path("a")]) == [Disabled()]
        assert not (await quiet.health()).ready


def test_hosts_are_listed_in_one_notation() -> None:
    settings = ClientSettings.read({**RUNPOD, "ALLOWED_IMAGE_HOSTS": "Images.Example.com., ::ffff:192.0.2.1,a-1.b2c"})
    assert settings.allowed_hosts == ("images.example.com", "192.0.2.1", "a-1.b2c")
