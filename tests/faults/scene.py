"""A faulty worker behind the SDK's own loop, the job API behind two relays (the worker's, the callers'), a client."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.jobapi import JobApi, WorkerProcess, start_worker
from heimdex_clip import AsyncClipClient
from heimdex_clip.encoder.encoder import Encoder, normalised, open_encoder
from heimdex_clip.encoder.preprocess import preprocess
from tests import tiny_model
from tests.e2e.rig import READY, ROOT, SECRET, ImageServer, picture, worker_env
from tests.faults.control import Control
from tests.faults.relay import Relay
from tests.faults.scoreboard import Board

Tell = Callable[[str], None]
"""Takes a row of the table."""


@dataclass
class Scene:
    """`worker` is the latest one that was started; `log` has every one's output."""

    api: JobApi
    images: ImageServer
    workers: Relay
    callers: Relay
    control: Control
    client: AsyncClipClient
    encoder: Encoder
    environ: dict[str, str]
    stack: AsyncExitStack
    worker: WorkerProcess | None = None
    count: int = 0
    seeds: int = 0
    boards: list[Board] = field(default_factory=list)

    def board(self, fault: str) -> Board:
        return Board(fault, self.client, self._expected, lambda: self.api.calls["runsync"] + self.callers.swallowed)

    def urls(self, count: int, *, host: str = "127.0.0.1") -> list[str]:
        """Each a picture of its own."""
        self.seeds += count
        seeds = range(self.seeds - count, self.seeds)
        return [f"http://{host}:{self.images.port}/picture/{seed}.jpg" for seed in seeds]

    async def start(self, *, ready: bool = True, **env: str) -> WorkerProcess:
        """Start a worker; it has a name of its own, as the platform's have."""
        self.count += 1
        command = [sys.executable, "-m", "tests.faults.faulty_worker", str(self.control.folder)]
        variables = {**self.environ, "RUNPOD_POD_ID": f"worker-{self.count}", **env}
        starting = start_worker(command, variables, cwd=ROOT, stop_timeout_s=10)
        self.worker = await self.stack.enter_async_context(starting)
        if ready:
            await self.worker.wait_for(READY, timeout_s=60)
        return self.worker

    async def running(self) -> WorkerProcess:
        """The latest worker, or a new one where that has ended; sound."""
        self.control.clear()
        if self.worker is None or self.worker.process.returncode is not None:
            await self.start()
        assert self.worker is not None
        return self.worker

    def _expected(self, url: str) -> NDArray[np.float32]:
        seed = int(url.rpartition("/")[2].removesuffix(".jpg")) if "/picture/" in url else 0
        return self._vector(seed)

    @functools.lru_cache(maxsize=1024)  # noqa: B019  # as long as the scene
    def _vector(self, seed: int) -> NDArray[np.float32]:
        pixels = preprocess(picture(seed), size=self.encoder.image_size, max_pixels=10**7)
        return normalised(self.encoder.encode_pixels(pixels[None])[0])

    def __hash__(self) -> int:
        return id(self)


@asynccontextmanager
async def scene(folder: Path, *, attempt_timeout_s: float = 2, **env: str) -> AsyncIterator[Scene]:
    """All up but the worker; after `attempt_timeout_s` the client takes a job for lost."""
    model_dir = tiny_model.build(folder / "model")
    control = Control(folder / "control")
    control.folder.mkdir()
    async with (
        ImageServer().running() as images,
        Relay().running() as workers,
        Relay().running() as callers,
        JobApi(take_poll_s=1, stop_poll_s=1) as api,
        AsyncExitStack() as stack,
    ):
        api_port = int(api.base_url.rpartition(":")[2].partition("/")[0])
        workers.target_port = callers.target_port = api_port
        to_relay = {
            name: value.replace(api.base_url, f"http://127.0.0.1:{workers.port}/v2")
            for name, value in api.environment().items()
        }
        client = await stack.enter_async_context(
            AsyncClipClient(
                api.endpoint_id,
                api.api_key,
                SECRET,
                base_url=f"http://127.0.0.1:{callers.port}/v2",
                timeout_s=30,
                attempt_timeout_s=attempt_timeout_s,
            )
        )
        encoder = await asyncio.to_thread(open_encoder, model_dir, runtime="cpu")
        environ = {**to_relay, **worker_env(model_dir, images.port, **env)}
        there = Scene(api, images, workers, callers, control, client, encoder, environ, stack)
        yield there
        workers.heal()
        callers.heal()
        control.clear()
