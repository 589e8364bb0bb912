"""The platform on loopback, and the command line before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from deploy.__main__ import main
from tests.deploy import platform
from tests.deploy.platform import KEY, Platform

SECRET = "s3cret-that-must-not-show"
ENVIRON = {"RUNPOD_API_KEY": KEY, "EMBEDDING_HMAC_SECRET": SECRET}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def runpod() -> Iterator[Platform]:
    """An empty account."""
    with platform.running() as running:
        yield running


@pytest.fixture
def run(runpod: Platform, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command against that account: its exit code, standard output and error, with no secret in either."""

    def command(*argv: str, environ: dict[str, str] = ENVIRON) -> tuple[int, str, str]:
        code = main([*argv, "--api-url", runpod.url, "--jobs-url", f"{runpod.url}/jobs"], environ)
        told = capsys.readouterr()
        for text in told:
            assert SECRET not in text
            assert KEY not in text
            assert "Traceback" not in text
        return code, told.out, told.err

    return command
