"""The whole service on a model in miniature, and one server that answers for every host that a test names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from heimdex_clip.encoder.encoder import open_encoder
from tests.worker.loopback import Handler, Names, Server, serve
from tests.worker.test_service import SECRET, signed
from worker import policies
from worker.authentication import Authenticator
from worker.download import Downloader
from worker.service import EmbeddingService, Reply
from worker.settings import read


@dataclass(frozen=True, slots=True)
class Rig:
    """A service, and the server that its images come from."""

    service: EmbeddingService
    server: Server

    def job(self, path: str = "/a.png", host: str = "images.test") -> asyncio.Task[Reply]:
        """A signed job for one image, under way."""
        payload = signed(image_url=self.server.url(path, host=host))
        return asyncio.create_task(self.service.handle(payload))


@asynccontextmanager
async def serving(folder: Path, handler: Handler, **environment: str) -> AsyncIterator[Rig]:
    """The service as it is by default but for `environment`; all names lead to the server."""
    names = Names(images_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    async with serve(handler) as server:
        settings = read(
            {
                "EMBEDDING_HMAC_SECRET": SECRET,
                "ALLOWED_PRIVATE_CIDRS": "127.0.0.1/32",
                "ALLOWED_IMAGE_PORTS": str(server.port),
                **environment,
            }
        )
        downloader = Downloader(policies.download_policy(settings), resolver=names)
        authenticator = Authenticator(policies.auth_policy(settings))
        service = EmbeddingService(open_encoder(folder, runtime="cpu"), settings, authenticator, downloader)
        try:
            yield Rig(service, server)
        finally:
            await service.close()
