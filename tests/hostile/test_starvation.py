"""One host that stalls, through the whole service: what others are answered meanwhile."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from tests.hostile.rig import Rig, serving
from tests.worker.loopback import Handler, Request, head
from tests.worker.test_service import picture, signed
from worker.service import Reply

STALLED = 300
"""More than MAX_INFLIGHT_ITEMS."""
DRIPPING = 40
"""Of 8 MiB each, which is more than the half of MAX_INFLIGHT_BYTES that downloads have."""
HANG_S = 60.0


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


async def stalled(rig: Rig, count: int) -> list[asyncio.Task[Reply]]:
    """Jobs for the slow host, as many of them under way as ever will be."""
    jobs = [rig.job(f"/slow{n}") for n in range(count)]
    before = -1
    while before != len(rig.server.requests) or before == 0:
        before = len(rig.server.requests)
        await asyncio.sleep(0.3)
    return jobs


async def end(jobs: list[asyncio.Task[Reply]]) -> None:
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


@pytest.mark.parametrize(("stall", "count"), [(silent, STALLED), (drip, DRIPPING)], ids=["before", "within the body"])
async def test_a_stalled_host_leaves_room_for_others(folder: Path, stall: Handler, count: int) -> None:
    async with asyncio.timeout(HANG_S), serving(folder, answers(stall)) as rig:
        jobs = await stalled(rig, count)
        replies = await asyncio.gather(*(rig.job(host="other.test") for _ in range(100)))
        assert [reply.get("code", "OK") for reply in replies] == ["OK"] * 100
        assert not any(job.done() for job in jobs)
        assert "embedding" in await rig.service.handle(signed(image_base64=picture()))
        await end(jobs)
        assert rig.service.admission.running == rig.service.admission.queued == 0


async def test_a_host_with_stalled_paths_goes_on_with_its_others(folder: Path) -> None:
    async with asyncio.timeout(HANG_S), serving(folder, answers(silent)) as rig:
        jobs = await stalled(rig, 200)
        replies = await asyncio.gather(*(rig.job() for _ in range(50)))
        assert [reply.get("code", "OK") for reply in replies] == ["OK"] * 50
        assert not any(job.done() for job in jobs)
        await end(jobs)


async def test_a_host_that_stalls_altogether_waits_for_its_own_deadlines(folder: Path) -> None:
    """And every job of it is answered by then, though more than have room are stalled."""
    async with asyncio.timeout(HANG_S), serving(folder, answers(silent), IMAGE_DOWNLOAD_TIMEOUT="2") as rig:
        jobs = [rig.job(f"/slow{n}") for n in range(STALLED)]
        good = [rig.job() for _ in range(5)]
        assert [reply.get("code", "OK") for reply in await asyncio.gather(*good)] == ["OK"] * 5
        assert {reply["code"] for reply in await asyncio.gather(*jobs)} == {"DOWNLOAD_TIMEOUT"}
