"""A real worker (the SDK's own loop, as a subprocess) on the loopback job API, and a web server of images."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from aiohttp import web
from PIL import Image

from bench.jobapi import JobApi, WorkerProcess, start_worker
from heimdex_clip import AsyncClipClient
from heimdex_clip.signing import sign_v1, sign_v2

ROOT = Path(__file__).parents[2]
SECRET = "e2e-secret-0123456789abcdef"
READY = '"event": "ready"'


def picture(seed: int, size: tuple[int, int] = (320, 240)) -> bytes:
    """A JPEG unlike any other seed's: smooth noise, so that embeddings differ."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    return file.getvalue()


class ImageServer:
    """Serves ``/picture/{seed}.jpg``, and everything that can go wrong, on a free loopback port."""

    def __init__(self) -> None:
        self.slow = asyncio.Event()
        """Until it is set, /slow.jpg is held back."""
        self.slow_requested = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ImageServer]:
        app = web.Application()
        app.router.add_get("/picture/{seed}.jpg", self._picture)
        app.router.add_get("/slow.jpg", self._slow)
        app.router.add_get("/never.jpg", self._never)
        app.router.add_get("/text.txt", self._text)
        app.router.add_get("/large.jpg", self._large)
        app.router.add_get("/redirect.jpg", self._redirect)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        try:
            yield self
        finally:
            await self._runner.cleanup()

    @property
    def port(self) -> int:
        port: int = self._runner.addresses[0][1]
        return port

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def _picture(self, request: web.Request) -> web.Response:
        return web.Response(body=picture(int(request.match_info["seed"])))

    async def _slow(self, _: web.Request) -> web.Response:
        self.slow_requested.set()
        await self.slow.wait()
        return web.Response(body=picture(0))

    async def _never(self, _: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async def _text(self, _: web.Request) -> web.Response:
        return web.Response(text="this is not an image")

    async def _large(self, _: web.Request) -> web.Response:
        return web.Response(body=b"\xff\xd8" + bytes(300_000))

    async def _redirect(self, _: web.Request) -> web.Response:
        raise web.HTTPFound("http://169.254.169.254/latest/meta-data/?token=hidden")


@dataclass(frozen=True, slots=True)
class Rig:
    """A running worker with its job API, images and a client."""

    api: JobApi
    worker: WorkerProcess
    images: ImageServer
    client: AsyncClipClient
    http: httpx.AsyncClient

    async def job(self, job_input: object, *, timeout_s: float = 30) -> dict[str, Any]:
        """Submit a raw input through /runsync; the platform's envelope."""
        body = json.dumps({"input": job_input})  # httpx's own would refuse a lone surrogate
        response = await self.http.post("/runsync", content=body, timeout=timeout_s)
        envelope: dict[str, Any] = response.json()
        return envelope

    def v1(self, url: str, **fields: object) -> dict[str, object]:
        """A signed v1 input."""
        return {"image_url": url, "auth": sign_v1(url, secret=SECRET), **fields}

    def v2(self, **payload: object) -> dict[str, object]:
        """A signed v2 input."""
        text = json.dumps({"aud": self.api.endpoint_id, "exp": int(time.time()) + 60, **payload})
        return {"payload": text, "auth": sign_v2(text, secret=SECRET)}


def worker_env(model_dir: Path, image_port: int, **more: str) -> dict[str, str]:
    return {
        "RUNPOD_SERVERLESS": "1",
        "EMBEDDING_HMAC_SECRET": SECRET,
        "CLIP_MODEL_DIR": str(model_dir),
        "WORKER_RUNTIME": "cpu",
        "ALLOW_UNTRAINED_MODEL": "1",
        "ALLOWED_PRIVATE_CIDRS": "127.0.0.0/8",
        "ALLOWED_IMAGE_PORTS": f"80,{image_port}",
        "IMAGE_DOWNLOAD_TIMEOUT": "2",
        "MAX_IMAGE_SIZE_BYTES": "262144",
        **more,
    }


@asynccontextmanager
async def running(model_dir: Path, **env: str) -> AsyncIterator[Rig]:
    """Everything up and the worker ready; `env` adds to the worker's variables."""
    async with ImageServer().running() as images, JobApi() as api:
        variables: Mapping[str, str] = {**api.environment(), **worker_env(model_dir, images.port, **env)}
        headers = {"Authorization": f"Bearer {api.api_key}"}
        async with (
            start_worker([sys.executable, "-m", "worker"], variables, cwd=ROOT) as worker,
            AsyncClipClient(api.endpoint_id, api.api_key, SECRET, base_url=api.base_url) as client,
            httpx.AsyncClient(base_url=api.endpoint_url, headers=headers) as http,
        ):
            await worker.wait_for(READY, timeout_s=60)
            yield Rig(api, worker, images, client, http)
