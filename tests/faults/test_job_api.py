"""A job API that fails: towards the worker, towards the caller, and between both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.scene import Scene, Tell, scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = b"<html>Service temporarily unavailable</html>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("job-api")) as there:
        yield there


async def encoded_behind(there: Scene, count: int = 4) -> None:
    """Let the worker go on that was held with `count` requests, and wait until it has its results to send."""
    assert there.worker is not None
    before = there.worker.output().count('"code": "OK"')
    there.control.set("tower")
    async with asyncio.timeout(20):
        while there.worker.output().count('"code": "OK"') < before + count:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("route", "status", "times"),
    [
        ("job-take", 500, 20),
        ("job-take", 429, 1),
        ("job-take", None, 5),
        ("job-done", 500, 4),
        ("job-done", None, 4),
    ],
)
async def test_it_fails_the_worker(there: Scene, route: str, status: int | None, times: int, tell: Tell) -> None:
    await there.running()
    board = there.board(f"{route}: {status or 'connection cut'} x {times}")
    there.api.fail_next(route, status, times=times)
    board.send(*there.urls(4))
    await board.finished()
    assert there.api.calls[route] >= times
    tell(board.row())


async def test_it_loses_the_results(there: Scene, tell: Tell) -> None:
    await there.running()
    board = there.board("job-done: accepted and lost x 4")
    there.api.lose_results(4)
    board.send(*there.urls(4))
    await board.finished()
    assert board.retried >= 4
    tell(board.row())


async def test_it_answers_the_worker_with_nonsense(there: Scene, tell: Tell) -> None:
    await there.running()
    board = there.board("all worker routes: a web page, status 200")
    there.control.set("tower", "hold")
    board.send(*there.urls(4))
    await there.control.reached("decoded", 4)
    there.workers.garble(PAGE)
    await encoded_behind(there)
    await asyncio.sleep(0.3)
    there.workers.heal()
    await board.finished()
    assert there.workers.swallowed >= 5  # four results, and asking for more
    assert board.retried >= 4
    tell(board.row())


async def test_it_says_nothing_to_the_worker(there: Scene, tell: Tell) -> None:
    await there.running()
    board = there.board("all worker routes: no answer, then all of them")
    there.control.set("tower", "hold")
    board.send(*there.urls(4))
    await there.control.reached("decoded", 4)
    there.workers.stall()
    await encoded_behind(there)
    async with asyncio.timeout(20):
        while board.retried < 4:  # noqa: ASYNC110  # the client gives its attempts up
            await asyncio.sleep(0.05)
    there.workers.heal()  # and both results of each request arrive
    await board.finished()
    tell(board.row())


async def test_jobs_without_form_end_the_worker_not_the_requests(there: Scene, tell: Tell) -> None:
    worker = await there.running()
    board = there.board("job-take: a list of jobs without ids")
    there.control.set("tower", "hold")
    board.send(*there.urls(4))
    await there.control.reached("decoded", 4)
    there.workers.garble(b"[{}]", "application/json")
    assert await asyncio.wait_for(worker.process.wait(), 20) == 1
    assert '"event": "sdk_failed"' in worker.output()
    assert "Traceback" not in worker.output()
    there.workers.heal()
    await there.running()
    await board.finished()
    tell(board.row())


@pytest.mark.parametrize("status", [500, 429, None])
async def test_it_fails_the_caller(there: Scene, status: int | None, tell: Tell) -> None:
    await there.running()
    board = there.board(f"runsync: {status or 'connection cut'} x 6")
    there.api.fail_next("runsync", status, times=6)
    board.send(*there.urls(4))
    await board.finished()
    assert board.retried >= 4
    tell(board.row())


async def test_it_answers_the_caller_with_nonsense(there: Scene, tell: Tell) -> None:
    await there.running()
    board = there.board("runsync: a web page, status 200")
    there.callers.garble(PAGE)
    board.send(*there.urls(4))
    async with asyncio.timeout(20):
        while there.callers.swallowed < 4:  # noqa: ASYNC110  # a server on sockets
            await asyncio.sleep(0.01)
    there.callers.heal()
    await board.finished()
    assert board.retried >= 4
    tell(board.row())


async def test_nonsense_for_ever_is_one_error_for_each_request(there: Scene, tell: Tell) -> None:
    await there.running()
    board = there.board("runsync: a web page for ever")
    there.callers.garble(PAGE)
    board.send(*there.urls(4))
    await board.finished()
    there.callers.heal()
    assert board.codes == {"BAD_REPLY": 4}
    tell(board.row(permanent=True))


async def test_it_says_nothing_to_the_caller(there: Scene, tell: Tell) -> None:
    await there.running()
    board = there.board("runsync: no answer, then cut")
    there.callers.stall()
    board.send(*there.urls(4))
    await asyncio.sleep(0.5)
    port = there.callers.target_port
    there.callers.cut()
    there.callers.target_port = port
    await board.finished()
    assert board.retried >= 4
    tell(board.row())
