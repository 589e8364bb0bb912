"""What a worker stands on gives way: name server, disk, file descriptors."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.rig import ROOT
from tests.faults.nameserver import NameServer
from tests.faults.scene import Scene, Tell, scene


@pytest_asyncio.fixture
async def there(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path, IMAGE_DOWNLOAD_TIMEOUT="5") as there:
        yield there


async def told(there: Scene, code: str, times: int) -> None:
    """The worker has answered with `code` so often."""
    assert there.worker is not None
    async with asyncio.timeout(20):
        while there.worker.output().count(f'"code": "{code}"') < times:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.02)


async def test_name_servers_that_are_down(there: Scene, tell: Tell) -> None:
    async with NameServer.running() as names:
        port = names.port
        await there.start(FAULTS_DNS_PORT=str(port))
        board = there.board("name server: sound")
        board.send(*there.urls(2, host="one.pictures.test"), again=True)
        await board.finished()
        assert not board.codes
        names.mute = True
        board = there.board("name server: says nothing, then answers")
        board.send(*there.urls(4, host="two.pictures.test"), again=True)
        await told(there, "DOWNLOAD_FAILED", 4)
        names.mute = False
        await board.finished()
        assert set(board.codes) == {"DOWNLOAD_FAILED"}
        tell(board.row())
    board = there.board("name server: gone, then back")
    board.send(*there.urls(4, host="three.pictures.test"), again=True)
    await told(there, "DOWNLOAD_FAILED", 8)
    async with NameServer.running(port):
        await board.finished()
    assert set(board.codes) == {"DOWNLOAD_FAILED"}
    tell(board.row())
    assert there.worker is not None
    await there.worker.stop()


async def test_no_file_descriptors_left(there: Scene, tell: Tell) -> None:
    worker = await there.start(FAULTS_NOFILE="64", IMAGE_DOWNLOAD_TIMEOUT="1")
    board = there.board("64 file descriptors, 100 downloads at once")
    board.send(*[there.images.url(f"/slow.jpg?{number}") for number in range(100)])
    # All of them time out together, and there are not as many descriptors as results to send.
    await worker.wait_for("Too many open files", timeout_s=20)
    await board.finished()
    assert set(board.codes) <= {"DOWNLOAD_FAILED", "DOWNLOAD_TIMEOUT"}
    assert all(error.retryable for errors in board.told.values() for error in errors)
    tell(board.row(permanent=True))
    # The SDK keeps as many connections as there were results; the platform closes what is idle.
    port = there.workers.target_port
    there.workers.cut()
    there.workers.target_port = port
    after = there.board("the same worker, afterwards")
    after.send(*there.urls(8))
    await after.finished()
    assert not after.codes
    tell(after.row())
    worker.process.terminate()
    assert await asyncio.wait_for(worker.process.wait(), 20) == 0


async def test_no_file_can_grow(there: Scene, tell: Tell) -> None:
    # As on a full disk, everywhere: the log goes to a file too.
    worker = await there.start(TMPDIR="/nonexistent")
    board = there.board("disk full, the log's too")
    there.control.set("disk", "full")
    for _ in range(3):
        board.send(*there.urls(4))
        await board.finished()
    assert not board.codes
    assert worker.output().count('"event": "job"') == 0
    there.control.set("disk")
    board.send(*there.urls(4))
    await board.finished()
    tell(board.row())
    assert worker.output().count('"event": "job"') > 0
    worker.process.terminate()
    assert await asyncio.wait_for(worker.process.wait(), 20) == 0


@pytest.mark.parametrize("kind", ["/dev/full", "a pipe that nobody reads any more"])
async def test_the_log_has_nowhere_to_go(there: Scene, kind: str, tell: Tell) -> None:
    if kind == "/dev/full":
        log = os.open(kind, os.O_WRONLY)
    else:
        reader, log = os.pipe()
        os.close(reader)
    there.control.clear()
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "tests.faults.faulty_worker", str(there.control.folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **there.environ},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    os.close(log)
    try:
        board = there.board(f"log: {kind}")
        board.send(*there.urls(8))
        await board.finished()
        tell(board.row())
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        await process.wait()
