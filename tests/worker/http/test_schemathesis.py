"""A real server against its own OpenAPI document: schemathesis writes the requests and judges the answers.

Once with the bodies signed, so that they get beyond the signature, and once with a server that takes them unsigned.
SCHEMATHESIS_EXAMPLES is the number of cases for each operation; the seed is the same at every run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import tiny_model

_ROOT = Path(__file__).parents[3]
_EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "4")
_SECRET, _KEY = "schemathesis-secret-0123", "schemathesis-key-0123"
_START_TIMEOUT_S = 60
_SIGNED = {"EMBEDDING_HMAC_SECRET": _SECRET}
_UNSIGNED = {"ALLOW_INSECURE_AUTH": "1"}
# A schema cannot say that a signature holds, that a URL leads to an image, or which model is served; and a server that
# takes unsigned bodies looks at no `auth`, nor does one find a wrong `auth` where the hook puts a right one.
_CHECKS = """
[checks]
positive_data_acceptance.enabled = false
[[operations]]
include-path-regex = "^/v1/embed/"
[operations.checks]
negative_data_rejection.enabled = false
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("schemathesis") / "tiny")


@contextmanager
def serving(model: Path, log: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """A worker's HTTP server in a process of its own, ready; gives its URL and ends it."""
    variables = {
        "PATH": os.environ["PATH"],
        "CLIP_MODEL_DIR": str(model),
        "WORKER_RUNTIME": "cpu",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "EMBEDDING_API_KEYS": _KEY,
        "ALLOWED_IMAGE_PORTS": "1",  # so that no URL leads anywhere
        **environment,
    }
    with log.open("wb") as file:
        command = [sys.executable, "-m", "worker", "serve"]
        process = subprocess.Popen(command, cwd=_ROOT, env=variables, stdout=file, stderr=file)
    try:
        yield _url_when_ready(log)
    finally:
        process.terminate()
        assert process.wait(30) == 0


def _url_when_ready(log: Path) -> str:
    until = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < until:
        events = {line["event"]: line for line in map(json.loads, log.read_text().splitlines())}
        if "text_ready" in events:
            return f"http://127.0.0.1:{events['listening']['ports'][0]}"
        time.sleep(0.05)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


@pytest.mark.parametrize(
    ("environment", "paths"),
    [pytest.param(_SIGNED, "^/v1/embed/", id="signed"), pytest.param(_UNSIGNED, "^/", id="unsigned")],
)
@pytest.mark.timeout(3600)
def test_the_server_keeps_to_its_document(model: Path, tmp_path: Path, environment: dict[str, str], paths: str) -> None:
    (tmp_path / "schemathesis.toml").write_text(_CHECKS)
    with serving(model, tmp_path / "server.log", environment) as url:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
        command += ["--max-examples", _EXAMPLES, "--mode", "all", "--generation-deterministic", "--no-color"]
        command += ["--include-path-regex", paths, "--header", f"Authorization: Bearer {_KEY}"]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(_ROOT),
                "HOME": str(tmp_path),
                "SCHEMATHESIS_HOOKS": "tests.worker.http.schemathesis_hooks",
                "SCHEMATHESIS_SIGN_WITH": environment.get("EMBEDDING_HMAC_SECRET", ""),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        log = (tmp_path / "server.log").read_text()
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    (generated,) = re.findall(r"(\d+) generated", done.stdout)
    assert int(generated) > 100
    assert "Traceback" not in log
    codes = {line.get("code") for line in map(json.loads, log.splitlines()) if line["event"] == "job"}
    assert "OK" in codes, "nothing got beyond the signature"
    assert not codes & {"INTERNAL", "INFERENCE_FAILED"}
    print(f"{generated} requests")
