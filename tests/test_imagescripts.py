"""The image's scripts, run as the build and the container run them."""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests import tiny_model

ROOT = Path(__file__).parents[1]


def run(*argv: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with every precision and three engines, by name."""
    made = tiny_model.build(tmp_path / "whole")
    engines = ("tensorrt-sm86", "tensorrt-sm89", "tensorrt-rtx-sm86-sm120")
    added = ["image.fp16.onnx", "image.fp16.onnx.data", "text.fp16.onnx", "image.fp32.onnx.data"]
    added += [f"engines/{engine}/image.plan" for engine in engines]
    document = json.loads((made / "manifest.json").read_text())
    for name in added:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(b"x")
        document["files"][name] = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}
    (made / "manifest.json").write_text(json.dumps(document))
    return made


CUDA = {"image.fp16.onnx", "image.fp16.onnx.data", "text.fp16.onnx"}
SM86, SM89 = "engines/tensorrt-sm86/image.plan", "engines/tensorrt-sm89/image.plan"
RTX = "engines/tensorrt-rtx-sm86-sm120/image.plan"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cpu"], {"image.fp32.onnx", "image.fp32.onnx.data", "text.fp32.onnx"}),
        (["cuda"], CUDA),
        (["tensorrt"], {SM86, SM89}),
        (["tensorrt", "86"], {SM86}),
        (["tensorrt", "89,86"], {SM86, SM89}),
        (["tensorrt-rtx"], {RTX}),
        (["tensorrt-rtx", "120"], {RTX}),
        (["tensorrt,cuda", "86"], {SM86, *CUDA}),
    ],
)
def test_an_image_has_its_lanes_files_only(
    folder: Path, tmp_path: Path, arguments: list[str], expected: set[str]
) -> None:
    lanes, *capabilities = arguments
    done = run("sh", "docker/model.sh", lanes, folder, tmp_path / "image", *capabilities, PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    found = {
        path.relative_to(tmp_path / "image").as_posix() for path in (tmp_path / "image").rglob("*") if path.is_file()
    }
    assert found == {"manifest.json", "golden.npz", "tokenizer.json", *expected}


@pytest.mark.parametrize("capability", ["8", "12", "90"])
def test_an_image_without_the_engine_that_was_asked_for_is_not_made(
    folder: Path, tmp_path: Path, capability: str
) -> None:
    done = run("sh", "docker/model.sh", "tensorrt", folder, tmp_path / "image", capability, PYTHON=sys.executable)
    assert done.returncode == 1
    assert f"no tensorrt engine for sm {capability}" in done.stderr


def test_an_engine_that_differs_from_the_manifest_ends_the_build(folder: Path, tmp_path: Path) -> None:
    (folder / SM86).write_bytes(b"y")
    done = run("sh", "docker/model.sh", "tensorrt", folder, tmp_path / "image", PYTHON=sys.executable)
    assert done.returncode == 1
    assert "the manifest says" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_engine_that_the_manifest_does_not_know_ends_the_build(folder: Path, tmp_path: Path) -> None:
    (folder / "engines/tensorrt-sm90").mkdir()
    (folder / "engines/tensorrt-sm90/image.plan").write_bytes(b"x")
    done = run("sh", "docker/model.sh", "tensorrt", folder, tmp_path / "image", PYTHON=sys.executable)
    assert done.returncode == 1
    assert "does not list engines/tensorrt-sm90/image.plan" in done.stderr


@pytest.mark.parametrize(("lanes", "cuda"), [("cuda", "12"), ("tensorrt", "11"), ("cpu,none", "13")])
def test_a_lane_without_a_build_for_that_cuda_is_named(tmp_path: Path, lanes: str, cuda: str) -> None:
    done = run("sh", "docker/install.sh", lanes.split(",")[-1], tmp_path / "site", cuda)
    assert done.returncode == 1
    assert f"the lane {lanes.split(',')[-1]} has no build for CUDA {cuda}" in done.stderr


def test_a_tensorrt_image_without_engines_is_not_made(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "engines")
    done = run("sh", "docker/model.sh", "tensorrt", folder, tmp_path / "image")
    assert done.returncode == 1
    assert "python -m export engine" in done.stderr


def test_the_entry_point_hands_the_baked_digest_on_unless_one_is_given(tmp_path: Path) -> None:
    baked, given = "a" * 64, "b" * 64
    (tmp_path / "manifest.sha256").write_text(f"{baked}  /models/model/manifest.json\n")
    script = tmp_path / "entrypoint.sh"
    script.write_text((ROOT / "docker/entrypoint.sh").read_text().replace("/models/", f"{tmp_path}/"))
    show = ("sh", script, sys.executable, "-c", "import os; print(os.environ['MODEL_MANIFEST_SHA256'])")
    assert run(*show).stdout.strip() == baked
    assert run(*show, MODEL_MANIFEST_SHA256=given).stdout.strip() == given


def test_a_given_folder_is_baked_only_under_its_own_name(tmp_path: Path) -> None:
    given = tiny_model.build(tmp_path / "given")
    document = json.loads((given / "manifest.json").read_text())
    script = ("sh", "docker/export.sh", tmp_path / "out", given, tmp_path / "none")
    asked = {"PYTHON": sys.executable, "MODEL": "tiny", "PRETRAINED": "openai"}
    refused = run(*script, **asked)
    assert refused.returncode == 1
    assert "untrained" in refused.stderr
    assert "Traceback" not in refused.stderr
    shutil.rmtree(tmp_path / "out")
    assert run(*script, **asked, ALLOW_UNTRAINED="0").returncode == 0
    shutil.rmtree(tmp_path / "out")
    (given / "manifest.json").write_text(json.dumps({**document, "untrained": False, "pretrained": "mine"}))
    refused = run(*script, **asked)
    assert refused.stderr.strip() == "export.sh: the weights are mine, not openai"
    shutil.rmtree(tmp_path / "out")
    assert run(*script, **{**asked, "PRETRAINED": "mine"}).returncode == 0


def test_pruning_takes_what_is_named_and_nothing_else(tmp_path: Path) -> None:
    for name in ("numpy/f2py/a.py", "numpy/core.py", "pkg/tests/test_a.py", "pkg/types.pyi", "pkg/mod.so", "bin/tool"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert run(sys.executable, "docker/prune.py", tmp_path, "docker/prune.txt").returncode == 0
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"numpy/core.py", "pkg/mod.so"}


# ---- the health check --------------------------------------------------------------------------------------


class Door(BaseHTTPRequestHandler):
    status = HTTPStatus.OK

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/ping" else HTTPStatus.NOT_FOUND)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name for it
        """Quiet."""


@pytest.fixture
def port() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


SERVE = ["python", "-m", "worker", "serve"]


@pytest.mark.parametrize(
    ("status", "healthy"),
    [(HTTPStatus.OK, True), (HTTPStatus.NO_CONTENT, True), (HTTPStatus.SERVICE_UNAVAILABLE, False)],
)
def test_the_http_door_is_asked(port: str, status: HTTPStatus, healthy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "status", status)
    assert runpy.run_path(str(ROOT / "docker/healthcheck.py"))["healthy"](SERVE, port) is healthy


def test_a_queue_worker_is_healthy_while_it_runs_and_a_closed_door_is_not() -> None:
    healthy = runpy.run_path(str(ROOT / "docker/healthcheck.py"))["healthy"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = str(taken.getsockname()[1])
    assert not healthy(SERVE, closed)
    assert healthy(["python", "-m", "worker"], closed)
    assert not healthy(["sleep", "1"], closed)
