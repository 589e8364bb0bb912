"""A worker that is told to end, or is killed, at every stage of a job: what it had is answered, by it or another."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from bench.jobapi import WorkerProcess
from tests.faults.scene import Scene, Tell, scene
from tests.faults.scoreboard import Board

pytestmark = pytest.mark.asyncio(loop_scope="module")

Stage = Callable[[Scene, Board], Awaitable[Callable[[], None]]]
"""Brings requests to a stage and holds them there; what it returns lets them go."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("shutdown")
    async with scene(folder, attempt_timeout_s=5, IMAGE_DOWNLOAD_TIMEOUT="20") as there:
        yield there


async def waiting(there: Scene, board: Board) -> Callable[[], None]:
    return lambda: board.send(*there.urls(4))  # on their way while the worker ends


async def downloading(there: Scene, board: Board) -> Callable[[], None]:
    board.send(*there.urls(3), there.images.url("/slow.jpg"))
    async with asyncio.timeout(20):
        await there.images.slow_requested.wait()
    return there.images.slow.set


async def decoding(there: Scene, board: Board) -> Callable[[], None]:
    there.control.set("decode", "hold")
    board.send(*there.urls(4))
    await there.control.reached("decoding", 4)
    return lambda: there.control.set("decode")


async def queued(there: Scene, board: Board) -> Callable[[], None]:
    there.control.set("tower", "hold")
    board.send(*there.urls(1))
    await there.control.reached("encoding")
    board.send(*there.urls(4))
    await there.control.reached("decoded", 5)
    return lambda: there.control.set("tower")


async def encoding(there: Scene, board: Board) -> Callable[[], None]:
    there.control.set("tower", "hold")
    board.send(*there.urls(4))
    await there.control.reached("encoding")
    return lambda: there.control.set("tower")


async def answering(there: Scene, board: Board) -> Callable[[], None]:
    worker = await there.running()
    release = await encoding(there, board)
    await there.control.reached("decoded", 4)
    there.workers.stall()
    release()
    await worker.wait_for('"code": "OK"', timeout_s=20)
    return there.workers.heal


async def drained(worker: WorkerProcess, release: Callable[[], None]) -> None:
    worker.process.terminate()
    await worker.wait_for('"event": "draining"', timeout_s=10)
    release()
    assert await asyncio.wait_for(worker.process.wait(), 20) == 0
    assert "Traceback" not in worker.output()
    assert "Unclosed" not in worker.output(), "what aiohttp says of connections that nobody closed"


async def test_sigterm_before_it_is_ready(there: Scene, tell: Tell) -> None:
    board = there.board("SIGTERM before ready")
    board.send(*there.urls(4))
    starting = await there.start(ready=False)
    await starting.wait_for('"event": "downloads_widened"', timeout_s=20)
    starting.process.terminate()
    assert await asyncio.wait_for(starting.process.wait(), 10) == 0
    await there.running()
    await board.finished()
    tell(board.row())


@pytest.mark.parametrize("stage", [waiting, downloading, decoding, queued, encoding, answering])
async def test_sigterm_at_a_stage(there: Scene, stage: Stage, tell: Tell) -> None:
    worker = await there.running()
    board = there.board(f"SIGTERM while {getattr(stage, '__name__', '')}")
    release = await stage(there, board)
    await drained(worker, release)
    await there.running()
    await board.finished()
    assert board.retried == 0
    tell(board.row())


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSEGV], ids=lambda death: death.name)
async def test_death_in_the_middle_of_a_batch(there: Scene, death: signal.Signals, tell: Tell) -> None:
    """The second is how a decoder that crashes would end it."""
    worker = await there.running()
    board = there.board(f"{death.name} in the middle of a batch")
    release = await queued(there, board)
    worker.process.send_signal(death)
    assert await worker.process.wait() == -death
    release()
    await there.running()
    await board.finished()
    assert board.retried >= len(board.urls)  # none of them could be saved
    tell(board.row())
