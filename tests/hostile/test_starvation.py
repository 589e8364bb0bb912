"""One host that stalls, through the whole service: what others are answered meanwhile."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from heimdex_clip.encoder.encoder import open_encoder
from tests import tiny_model
from tests.worker.loopback import Handler, Names, Request, Server, head, serve
from tests.worker.test_service import picture, signed
from worker import policies
from worker.authentication import Authenticator
from worker.download import Downloader
from worker.service import EmbeddingService
from worker.settings import read

STALLED = 300
"""More than MAX_INFLIGHT_ITEMS."""
DRIPPING = 40
"""Of 8 MiB each, which is more than the half of MAX_INFLIGHT_BYTES that downloads have."""
HANG_S = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("model") / "tiny")


@dataclass
class Rig:
    service: EmbeddingService
    server: Server

    def job(self, host: str, path: str = "/a.png") -> asyncio.Task[dict[str, object]]:
        payload = signed(image_url=self.server.url(path, host=host))
        return asyncio.create_task(self.service.handle(payload))


@asynccontextmanager
async def serving(folder: Path, handler: Handler, **environment: str) -> AsyncIterator[Rig]:
    """The service as it is configured by default, and a server that two hosts share."""
    names = Names(slow_test=[["127.0.0.1"]], quick_test=[["127.0.0.1"]])
    async with serve(handler) as server:
        settings = read(
            {
                "EMBEDDING_HMAC_SECRET": "service-secret",
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


def answers(stall: Handler) -> Handler:
    """Good pictures, but what /slow asks for stalls in one way or another."""
    good = base64.b64decode(picture())

    async def handler(request: Request) -> None:
        if request.target.startswith("/slow"):
            await stall(request)
        else:
            await request.answer(good)

    return handler


async def silent(request: Request) -> None:
    await request.gone()


async def drip(request: Request) -> None:
    await request.send(head(f"Content-Length: {8 << 20}"), b"a")
    await request.gone()


async def stalled(rig: Rig, count: int, path: str = "/slow") -> list[asyncio.Task[dict[str, object]]]:
    """Jobs for the slow host, as many of them under way as ever will be."""
    jobs = [rig.job("slow.test", f"{path}{n}") for n in range(count)]
    before = -1
    while before != len(rig.server.requests) or before == 0:
        before = len(rig.server.requests)
        await asyncio.sleep(0.3)
    return jobs


async def end(jobs: list[asyncio.Task[dict[str, object]]]) -> None:
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


@pytest.mark.parametrize(("stall", "count"), [(silent, STALLED), (drip, DRIPPING)], ids=["before", "within the body"])
async def test_a_stalled_host_leaves_room_for_others(folder: Path, stall: Handler, count: int) -> None:
    async with asyncio.timeout(HANG_S), serving(folder, answers(stall)) as rig:
        jobs = await stalled(rig, count)
        replies = await asyncio.gather(*(rig.job("quick.test") for _ in range(100)))
        assert [reply.get("code", "OK") for reply in replies] == ["OK"] * 100
        assert not any(job.done() for job in jobs)
        assert "embedding" in await rig.service.handle(signed(image_base64=picture()))
        await end(jobs)
        assert rig.service.admission.running == rig.service.admission.queued == 0


async def test_a_host_with_stalled_paths_goes_on_with_its_others(folder: Path) -> None:
    async with asyncio.timeout(HANG_S), serving(folder, answers(silent)) as rig:
        jobs = await stalled(rig, 200)
        replies = await asyncio.gather(*(rig.job("slow.test") for _ in range(50)))
        assert [reply.get("code", "OK") for reply in replies] == ["OK"] * 50
        assert not any(job.done() for job in jobs)
        await end(jobs)


async def test_a_host_that_stalls_altogether_waits_for_its_own_deadlines(folder: Path) -> None:
    """And every job of it is answered by then, though more than have room are stalled."""
    async with asyncio.timeout(HANG_S), serving(folder, answers(silent), IMAGE_DOWNLOAD_TIMEOUT="0.5") as rig:
        jobs = [rig.job("slow.test", f"/slow{n}") for n in range(STALLED)]
        good = [rig.job("slow.test") for _ in range(20)]
        assert [reply.get("code", "OK") for reply in await asyncio.gather(*good)] == ["OK"] * 20
        assert {reply["code"] for reply in await asyncio.gather(*jobs)} == {"DOWNLOAD_TIMEOUT"}
