"""`python -m worker serve` as a process: its start, its end, and what it says when it can do neither."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.worker import loopback
from tests.worker.http.conftest import ENVIRONMENT, KEY, data_uri, png
from worker import server
from worker.settings import Settings

_TIMEOUT_S = 60
_REPOSITORY = Path(__file__).parents[2]


class Worker:
    """A worker's process and the events of its log, read as they come."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def event(self, name: str) -> dict[str, object]:
        """The next event of that name."""
        assert self.process.stderr is not None
        async with asyncio.timeout(_TIMEOUT_S):
            while line := (await self.process.stderr.readline()).decode():
                self.lines.append(line)
                if line.startswith("{") and (event := json.loads(line))["event"] == name:
                    found: dict[str, object] = event
                    return found
        raise AssertionError(f"the worker ended without {name}: {self.lines}")

    async def client(self, port: int = 0) -> httpx.AsyncClient:
        """A client of the PORT (or of another of its ports), once it listens."""
        ports = (await self.event("listening"))["ports"]
        assert isinstance(ports, list)
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports[port]}", timeout=_TIMEOUT_S, trust_env=False)

    async def end(self) -> tuple[int | None, str]:
        """Exit code and everything on standard error."""
        async with asyncio.timeout(_TIMEOUT_S):
            _, rest = await self.process.communicate()
        return self.process.returncode, "".join(self.lines) + rest.decode()


@asynccontextmanager
async def worker(folder: Path, **environment: str) -> AsyncIterator[Worker]:
    variables = {**ENVIRONMENT, "ALLOWED_IMAGE_PORTS": "80", "CLIP_MODEL_DIR": str(folder), **environment}
    inherited = {name: value for name, value in os.environ.items() if name not in variables}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", "serve", cwd=_REPOSITORY, env={**inherited, **variables}, stderr=PIPE
    )
    try:
        yield Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.fixture
def slow_folder(model_dir: Path, tmp_path: Path) -> Path:
    """The test model behind a manifest that only arrives when the test writes it."""
    for file in model_dir.iterdir():
        if file.name != "manifest.json":
            (tmp_path / file.name).symlink_to(file)
    os.mkfifo(tmp_path / "manifest.json")
    return tmp_path


async def write_manifest(folder: Path, text: str) -> None:
    await asyncio.to_thread((folder / "manifest.json").write_text, text)


async def test_it_listens_before_the_model_is_loaded_and_serves_after(slow_folder: Path, model_dir: Path) -> None:
    body = {"input": ["a cat", {"image": data_uri(png())}], "model": "ViT-B-32"}
    async with worker(slow_folder) as running, await running.client() as client:
        assert (await client.get("/ping")).status_code == 204
        assert (await client.post("/v1/embed/image", json={})).status_code == 503
        await write_manifest(slow_folder, (model_dir / "manifest.json").read_text())
        await running.event("ready")
        assert (await client.get("/ping")).status_code == 200
        answer = await client.post("/v1/embeddings", json=body, headers={"Authorization": f"Bearer {KEY}"})
        assert len(answer.json()["data"]) == 2
        running.process.send_signal(signal.SIGTERM)
        code, log = await running.end()
    assert code == 0
    assert '"event": "stopped"' in log
    assert KEY not in log


async def test_sigterm_lets_what_is_under_way_finish(model_dir: Path) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(request: loopback.Request) -> None:
        asked.set()
        await answer.wait()
        await request.answer(png())

    async with (
        loopback.serve(slow) as images,
        worker(model_dir, ALLOWED_IMAGE_PORTS=str(images.port)) as running,
        await running.client() as client,
    ):
        await running.event("ready")
        body = {"input": {"image": images.url()}}
        asking = asyncio.create_task(
            client.post("/v1/embeddings", json=body, headers={"Authorization": f"Bearer {KEY}"})
        )
        await asyncio.wait_for(asked.wait(), _TIMEOUT_S)
        running.process.send_signal(signal.SIGTERM)
        await running.event("draining")
        answer.set()
        assert (await asking).status_code == 200
        code, _ = await running.end()
    assert code == 0


async def test_sigterm_while_loading_exits_0(slow_folder: Path) -> None:
    async with worker(slow_folder) as running, await running.client() as client:
        assert (await client.get("/ping")).status_code == 204
        running.process.send_signal(signal.SIGTERM)
        await running.event("draining")
        await write_manifest(slow_folder, "")
        code, log = await running.end()
    assert code == 0
    assert "Traceback" not in log


async def test_a_failed_load_is_one_line_and_exit_2(slow_folder: Path) -> None:
    async with worker(slow_folder) as running, await running.client() as client:
        assert (await client.get("/ping")).status_code == 204
        await write_manifest(slow_folder, "{}")
        code, log = await running.end()
    (line,) = [line for line in log.splitlines() if not line.startswith("{")]
    assert code == 2
    assert line.startswith("worker: ")
    assert "manifest.json" in line


async def test_health_checks_may_have_a_port_of_their_own(slow_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with worker(slow_folder, PORT_HEALTH=str(port)) as running:
        async with await running.client(1) as client:
            assert client.base_url.port == port
            assert (await client.get("/ping")).status_code == 204
        running.process.send_signal(signal.SIGTERM)
        await write_manifest(slow_folder, "")
        code, _ = await running.end()
    assert code == 0


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"PORT": "{taken}"}, "PORT={taken}"),
        ({"PORT_HEALTH": "{taken}"}, "PORT_HEALTH={taken}"),
        ({"HOST": "not an address"}, "HOST='not an address'"),
        ({"EMBEDDING_HMAC_SECRET": ""}, "EMBEDDING_HMAC_SECRET"),
        ({"PORT": "http"}, "PORT='http'"),
    ],
)
async def test_what_cannot_start_says_why_in_one_line(model_dir: Path, environment: dict[str, str], named: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        filled = {name: value.replace("{taken}", port) for name, value in environment.items()}
        async with worker(model_dir, **filled) as running:
            code, log = await running.end()
    line = log.splitlines()[-1]
    assert code == 2
    assert line.startswith("worker: ")
    assert named.replace("{taken}", port) in line
    assert "Traceback" not in log


def test_no_answer_waits_for_the_acknowledgement_of_its_head() -> None:
    (listening,) = server.listen(Settings(host="127.0.0.1", port=0))
    with listening, socket.create_connection(listening.getsockname()), listening.accept()[0] as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
