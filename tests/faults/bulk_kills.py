"""A bulk run whose worker, job API and client are killed on the way: the SDK's own loop, a sleep for an encoder."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from aiohttp import web

from bench.jobapi import JobApi, WorkerProcess, start_worker
from tests.e2e.rig import ROOT, SECRET, worker_env
from tests.faults.relay import Relay

KILLS = ("worker", "api", "client")


@dataclass
class Scene:
    """Everything around the client. `killed` says what was, in order."""

    relay: Relay
    environ: Mapping[str, str]
    image_port: int
    api: JobApi | None = None
    api_stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    worker: WorkerProcess | None = None
    worker_stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    client: asyncio.subprocess.Process | None = None
    killed: list[str] = field(default_factory=list)

    async def start_api(self) -> None:
        self.api = await self.api_stack.enter_async_context(JobApi(take_poll_s=1, stop_poll_s=1))
        self.relay.target_port = int(self.api.base_url.rpartition(":")[2].partition("/")[0])

    async def start_worker(self) -> None:
        starting = start_worker([sys.executable, "-m", "bench.stub_worker"], self.environ, cwd=ROOT, stop_timeout_s=5)
        self.worker = await self.worker_stack.enter_async_context(starting)

    async def start_client(self, *command: str) -> None:
        self.client = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "heimdex_clip", "bulk", *command],
            cwd=ROOT,
            env={**os.environ, **self.environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def kill(self, what: str) -> None:
        """SIGKILL, or for the job API: every connection cut, every job forgotten; then a new one in its place."""
        if what == "client":
            assert self.client is not None
            self.client.kill()
            await self.client.communicate()
        elif what == "worker":
            assert self.worker is not None
            self.worker.process.kill()
            await self.worker_stack.aclose()
            await self.start_worker()
        else:
            self.relay.cut()
            await self.api_stack.aclose()
            await asyncio.sleep(0.3)
            await self.start_api()


@asynccontextmanager
async def scene(model_dir: Path) -> AsyncIterator[Scene]:
    """All up but the client, each of them replaced when it is killed."""
    app = web.Application()
    app.router.add_get("/{number}", _image)
    images = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await images.setup()
    await web.TCPSite(images, "127.0.0.1", 0).start()
    image_port = images.addresses[0][1]
    async with Relay().running() as relay, JobApi() as pattern:
        base = f"http://127.0.0.1:{relay.port}/v2"
        to_relay = {name: value.replace(pattern.base_url, base) for name, value in pattern.environment().items()}
        environ = {
            **to_relay,
            **worker_env(model_dir, image_port, LOG_LEVEL="WARNING"),
            "RUNPOD_API_KEY": pattern.api_key,
            "RUNPOD_CLIP_ENDPOINT_ID": pattern.endpoint_id,
            "RUNPOD_ENDPOINT_BASE_URL": base,
            "RUNPOD_ATTEMPT_TIMEOUT_S": "1.5",
            "EMBEDDING_HMAC_SECRET": SECRET,
        }
        there = Scene(relay, environ, image_port)
        async with there.api_stack, there.worker_stack:
            await there.start_api()
            await there.start_worker()
            try:
                yield there
            finally:
                if there.client is not None and there.client.returncode is None:
                    there.client.kill()
                    await there.client.communicate()
                await there.worker_stack.aclose()
                await there.api_stack.aclose()
    await images.cleanup()


async def run(there: Scene, folder: Path, *, rows: int, part_rows: int, kills: Mapping[int, str]) -> tuple[int, str]:
    """A whole run; before part N is there, N-1 being there, `kills[N]` is killed. Exit code and output of the last."""
    source, out = folder / "in.csv", folder / "out"
    source.write_text("url,id\n" + "".join(f"http://127.0.0.1:{there.image_port}/{n},row-{n}\n" for n in range(rows)))
    command = [str(source), str(out), "--part-rows", str(part_rows), "--batch", "8", "--concurrency", "64"]
    await there.start_client(*command)
    for stage, what in sorted(kills.items()):
        assert there.client is not None
        while len(list(out.glob("part-*.parquet"))) < stage:
            assert there.client.returncode is None, "the run was over before its stage came"
            await asyncio.sleep(0.01)
        await there.kill(what)
        there.killed.append(what)
        if what == "client":
            await there.start_client(*command)
    assert there.client is not None
    printed, said = await there.client.communicate()
    return there.client.returncode or 0, (said + printed).decode()


def ids_of(out: Path) -> list[str]:
    """The ids of all parts, in order."""
    return [
        i for path in sorted(out.glob("part-*.parquet")) for i in pq.read_table(path, columns=["id"])[0].to_pylist()
    ]


def without_vector(out: Path) -> int:
    """Rows that have no vector, or an error."""
    paths = out.glob("part-*.parquet")
    tables = [pq.read_table(path, columns=["vector", "error"]) for path in paths]
    return sum(table["vector"].null_count + len(table) - table["error"].null_count for table in tables)


async def _image(_: web.Request) -> web.Response:
    return web.Response(body=b"a picture")
