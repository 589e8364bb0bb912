"""HTTP servers and queue workers as entrants: this project's two doors, infinity's server, the PyTorch worker."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench import contenders
from bench.contenders import Contender
from bench.entrants import START_TIMEOUT_S, Measured, Shape, driven
from bench.environments import ROOT
from bench.errors import BenchError
from bench.jobapi import Job, JobApi, Status, WorkerProcess, start_worker
from bench.library import OFFLINE

_POLL_S = 0.01
KEY = "bench-" + uuid.uuid4().hex
"""Bearer key of this run's HTTP door; it never leaves the machine."""


@dataclass(slots=True)
class HttpEntrant:
    """A server that speaks OpenAI's embeddings route with images as data URIs, as both doors here do."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    port: int
    path: str
    model: str
    images: Sequence[Path]
    _stack: AsyncExitStack | None = field(default=None, init=False)
    _worker: WorkerProcess | None = field(default=None, init=False)
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _uris: list[str] = field(default_factory=list, init=False)

    @property
    def pid(self) -> int:
        """The server's."""
        assert self._worker is not None
        return self._worker.process.pid

    async def start(self) -> float:
        """See `Entrant`: asked every 10 ms from the process's start on."""
        self._uris = [data_uri(path.read_bytes()) for path in self.images]
        self._stack = AsyncExitStack()
        started = time.perf_counter()
        env = {**OFFLINE, **self.env}
        self._worker = await self._stack.enter_async_context(start_worker(self.argv, env, cwd=ROOT, stop_timeout_s=1))
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(START_TIMEOUT_S)
            )
        )
        while True:
            try:
                await self.embed(self._uris[:1])
            except (BenchError, aiohttp.ClientError) as error:
                if time.perf_counter() - started > START_TIMEOUT_S:
                    raise BenchError(f"{self.name} gave no answer within {START_TIMEOUT_S} s: {error}") from None
                if self._worker.process.returncode is not None:
                    raise BenchError(f"{self.name} ended: {self._worker.output()[-200:]!r}") from None
                await asyncio.sleep(_POLL_S)
            else:
                return time.perf_counter() - started

    async def embed(self, uris: Sequence[str]) -> list[list[float]]:
        """One request. Raises BenchError when it is not answered with vectors."""
        return [row["embedding"] for row in json.loads(await self._post(self._body(uris)))["data"]]

    async def load(self, shape: Shape) -> Measured | None:
        """See `Entrant`: the answers are read, and not parsed, so that the client takes little of the cores."""
        uris = self._uris
        bodies = [
            self._body([uris[(first * shape.batch + place) % len(uris)] for place in range(shape.batch)])
            for first in range(len(uris))
        ]

        async def call(number: int) -> None:
            await self._post(bodies[number % len(bodies)])

        try:
            return await driven(call, shape, self.pid)
        except* (aiohttp.ClientError, TimeoutError, BenchError) as failed:
            raise BenchError(f"{self.name}: {failed.exceptions[0]}") from None

    def _body(self, uris: Sequence[str]) -> bytes:
        return json.dumps({"model": self.model, "input": list(uris), "modality": "image"}).encode()

    async def _post(self, body: bytes) -> bytes:
        assert self._session is not None
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        async with self._session.post(
            f"http://127.0.0.1:{self.port}{self.path}", data=body, headers=headers
        ) as response:
            data = await response.read()
        if response.status != 200:
            raise BenchError(f"HTTP {response.status}: {data[:200]!r}")
        return data

    async def stop(self) -> None:
        """See `Entrant`."""
        if self._stack is not None:
            await self._stack.aclose()
        self._stack = self._worker = self._session = None


@dataclass(slots=True)
class QueueEntrant:
    """A worker in RunPod's SDK loop, before a loopback job API and a loopback photograph server."""

    contender: Contender
    urls: Sequence[str]
    batches: bool
    most_clients: int
    _stack: AsyncExitStack | None = field(default=None, init=False)
    _api: JobApi | None = field(default=None, init=False)
    _worker: WorkerProcess | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    @property
    def pid(self) -> int:
        """The worker's."""
        assert self._worker is not None
        return self._worker.process.pid

    async def start(self) -> float:
        """See `Entrant`: a job waits in the queue when the process starts."""
        self._stack = AsyncExitStack()
        self._api = await self._stack.enter_async_context(JobApi())
        job = self._api.queue.submit(contenders.job_input(self.urls[0]))
        started = time.perf_counter()
        env = {**self.contender.env, **self._api.environment()}
        self._worker = await self._stack.enter_async_context(
            start_worker(self.contender.argv, env, cwd=ROOT, stop_timeout_s=1)
        )
        ended = asyncio.create_task(self._worker.process.wait())
        finished = asyncio.create_task(job.finished.wait())
        await asyncio.wait({ended, finished}, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        seconds = time.perf_counter() - started
        ended.cancel()
        finished.cancel()
        if not job.finished.is_set():
            raise BenchError(f"{self.name} gave no answer: {self._worker.output()[-300:]!r}")
        contenders.embedding(job)
        return seconds

    async def load(self, shape: Shape) -> Measured | None:
        """See `Entrant`: None for a batch where the worker takes one image a job."""
        if shape.batch > 1 and not self.batches:
            return None
        clients = min(shape.clients, self.most_clients)

        async def call(number: int) -> None:
            await self.job(number * shape.batch, shape.batch)

        try:
            return await driven(call, Shape(shape.name, shape.batch, clients, shape.window_s), self.pid)
        except* (TimeoutError, BenchError) as failed:
            raise BenchError(f"{self.name}: {failed.exceptions[0]}") from None

    async def job(self, first: int, batch: int = 1) -> Job:
        """One job of `batch` images, answered. Raises BenchError when it failed."""
        assert self._api is not None
        inputs = [contenders.job_input(self.urls[(first + place) % len(self.urls)]) for place in range(batch)]
        job = self._api.queue.submit(inputs[0] if batch == 1 else {"items": inputs})
        await job.finished.wait()
        if job.status is not Status.COMPLETED:
            raise BenchError(f"a job ended {job.status}: {job.members[:200]!r}")
        return job

    async def stop(self) -> None:
        """See `Entrant`."""
        if self._stack is not None:
            await self._stack.aclose()
        self._stack = self._api = self._worker = None


def own_door(model_dir: Path, model: str, images: Sequence[Path]) -> HttpEntrant:
    """This project's HTTP door on a free port."""
    port = free_port()
    env = {
        **contenders.worker_env(model_dir, image_port=port),
        "RUNPOD_SERVERLESS": "0",
        "EMBEDDING_API_KEYS": KEY,
        "HOST": "127.0.0.1",
        "PORT": str(port),
    }
    argv = (sys.executable, "-m", "worker", "serve")
    return HttpEntrant("worker, HTTP", argv, env, port, "/v1/embeddings", model, images)


def infinity_server(python: Path, folder: Path, images: Sequence[Path]) -> HttpEntrant:
    """infinity's own server on a free port, without its warm-up, which is a benchmark of its own."""
    port = free_port()
    options = {
        "--model-id": str(folder / "hf"),
        "--served-model-name": "clip",
        "--engine": "torch",
        "--device": "cpu",
        "--dtype": "float32",
        "--port": str(port),
        "--host": "127.0.0.1",
        "--log-level": "error",
    }
    command = str(python.with_name("infinity_emb"))
    argv = (command, "v2", "--no-model-warmup", *(part for option in options.items() for part in option))
    return HttpEntrant("infinity, HTTP", argv, {}, port, "/embeddings", "clip", images)


def data_uri(data: bytes) -> str:
    """Image bytes as both servers take them."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
