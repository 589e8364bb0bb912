"""The command line, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from heimdex_clip import __main__, signing
from heimdex_clip.contract import parse_request

ROOT = Path(__file__).parents[2]
SECRET, URL = "s3cret-never-shown", "https://images.example/cat.jpg?a|b"
ENVIRONMENT = {"EMBEDDING_HMAC_SECRET": SECRET, "OTHER": "another"}


class Output:
    """Runs `main` and keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str, environ: Mapping[str, str] = ENVIRONMENT) -> tuple[int, str, str]:
        code = __main__.main(["sign", *argv], environ)
        return code, *self._capsys.readouterr()

    def sign(self, *argv: str) -> Any:
        code, out, err = self("--image-url", URL, *argv)
        assert (code, err, out.count("\n")) == (0, "", 1)
        return json.loads(out)["input"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Output:
    return Output(capsys)


def test_signs_with_v1_by_default(run: Output) -> None:
    signed = run.sign()
    assert set(signed) == {"image_url", "auth"}
    keys = {"default": SECRET}
    assert signing.verify_v1(signed["image_url"], signed["auth"], keys=keys, window_s=60, now=time.time()) == "default"


def test_options_go_into_the_request(run: Output) -> None:
    signed = run.sign("--request-id", "r", "--no-normalize", "--model", "ViT-B-32", "--encoding", "base64")
    del signed["auth"]
    assert signed == {
        "image_url": URL,
        "request_id": "r",
        "normalize": False,
        "model": "ViT-B-32",
        "encoding": "base64",
    }


def test_signs_with_v2_for_an_audience_and_a_lifetime(run: Output) -> None:
    signed = run.sign("--v2", "--aud", "ep-1", "--kid", "next", "--lifetime-s", "30", "--request-id", "r")
    assert signing.verify_v2(signed["payload"], signed["auth"], keys={"next": SECRET}) == "next"
    payload = json.loads(signed["payload"])
    assert payload == {"image_url": URL, "request_id": "r", "aud": "ep-1", "exp": payload["exp"]}
    assert 0 < payload["exp"] - time.time() <= 31
    parse_request(payload, strict=True)


def test_v2_lives_ten_minutes_by_default(run: Output) -> None:
    signed = run.sign("--v2", "--aud", "e")
    assert signed["auth"]["kid"] == "default"
    assert 0 < json.loads(signed["payload"])["exp"] - time.time() <= 601


def test_another_variable_may_hold_the_secret(run: Output) -> None:
    signed = run.sign("--secret-env", "OTHER")
    assert signing.sign_v1(URL, secret="another", ts=int(signed["auth"]["ts"])) == signed["auth"]


@pytest.mark.parametrize(
    ("argv", "environ", "named"),
    [
        (["--image-url", URL], {}, "EMBEDDING_HMAC_SECRET is not set"),
        (["--image-url", URL], {"EMBEDDING_HMAC_SECRET": ""}, "EMBEDDING_HMAC_SECRET is not set"),
        (["--image-url", URL, "--secret-env", "NONE"], ENVIRONMENT, "NONE is not set"),
        (["--image-url", URL], {"EMBEDDING_HMAC_SECRET": SECRET + "\udcff"}, "not UTF-8"),
        (["--image-url", "\udcff"], ENVIRONMENT, "image_url holds half"),
        (["--image-url", "x" * 9000], ENVIRONMENT, "image_url has 9000 characters"),
        (["--image-url", URL, "--v2"], ENVIRONMENT, "--v2 needs --aud"),
        (["--image-url", URL, "--v2", "--aud", "e", "--kid", "a b"], ENVIRONMENT, "kid"),
        (["--image-url", URL, "--v2", "--aud", "e", "--lifetime-s", "0"], ENVIRONMENT, "--lifetime-s must be"),
        (["--image-url", URL, "--v2", "--aud", "e", "--lifetime-s", "86401"], ENVIRONMENT, "--lifetime-s must be"),
        (["--image-url", URL, "--aud", "e"], ENVIRONMENT, "--aud needs --v2"),
        (["--image-url", URL, "--lifetime-s", "9"], ENVIRONMENT, "--lifetime-s needs --v2"),
        (["--image-url", URL, "--kid", "k"], ENVIRONMENT, "--kid needs --v2"),
    ],
)
def test_what_cannot_be_signed_is_one_line_and_a_code(
    run: Output, argv: list[str], environ: Mapping[str, str], named: str
) -> None:
    code, out, err = run(*argv, environ=environ)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("heimdex-clip: ")
    assert named in err
    assert SECRET not in err


def test_there_is_no_way_to_pass_a_secret_as_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--secret", "x"], ["--secret-e", "OTHER"]):
        with pytest.raises(SystemExit) as raised:
            __main__.main(["sign", "--image-url", URL, *argv], ENVIRONMENT)
        assert raised.value.code == 2
        assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [[sys.executable, "-m", "heimdex_clip"], [str(Path(sys.executable).with_name("heimdex-clip"))]]
)
def test_runs_as_a_module_and_as_a_script(command: list[str]) -> None:
    environment = {**os.environ, **ENVIRONMENT}
    argv = [*command, "sign", "--image-url", URL]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)["input"]["image_url"] == URL
    refused = subprocess.run([*command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
