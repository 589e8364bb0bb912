"""A real server on loopback in this process, before a real service."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from heimdex_clip.encoder.encoder import Encoder, open_encoder
from worker import policies, server
from worker.authentication import Authenticator
from worker.download import Downloader
from worker.http.door import Door
from worker.service import EmbeddingService
from worker.settings import Settings, read

SECRET = "correct horse battery staple"
KEY = "key-of-the-tests"
ENVIRONMENT = {
    "EMBEDDING_HMAC_SECRET": SECRET,
    "EMBEDDING_API_KEYS": f"another,{KEY}",
    "HOST": "127.0.0.1",
    "PORT": "0",
    "ALLOWED_PRIVATE_CIDRS": "127.0.0.0/8",
    "ALLOWED_IMAGE_PORTS": ",".join(map(str, range(1024, 65536))),
}


@dataclass
class Served:
    """A running server: its door, its address and a client of it."""

    door: Door
    url: str
    client: httpx.AsyncClient

    async def embeddings(self, body: object, *, key: str = KEY) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return await self.client.post("/v1/embeddings", json=body, headers=headers)


@asynccontextmanager
async def serving(door: Door) -> AsyncIterator[Served]:
    """Run the door's server on a free port until the block ends, then drain it."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(one) for one in server.listen(door.settings)]
        url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        running = server.make_server(door)
        task = asyncio.create_task(running.serve(sockets=sockets))
        try:
            async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
                yield Served(door, url, client)
        finally:
            running.should_exit = True
            await task
            await door.close()


def new_door(**environment: str) -> Door:
    return Door(read({**ENVIRONMENT, **environment}))


def new_service(door: Door, encoder: Encoder) -> EmbeddingService:
    settings: Settings = door.settings
    return EmbeddingService(
        encoder,
        settings,
        Authenticator(policies.auth_policy(settings)),
        Downloader(policies.download_policy(settings)),
        door.metrics,
    )


@asynccontextmanager
async def ready(encoder: Encoder, **environment: str) -> AsyncIterator[Served]:
    """A server whose model is loaded."""
    door = new_door(**environment)
    door.open(new_service(door, encoder))
    async with serving(door) as served:
        yield served


def png(seed: int = 0, side: int = 64) -> bytes:
    """A small picture, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.fixture(scope="session")
def encoder(model_dir: Path) -> Encoder:
    found = open_encoder(model_dir, runtime="cpu")
    found.load_text()
    return found
