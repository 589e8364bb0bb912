"""An encoder that raises, hangs, or returns what no index may hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.scene import Scene, Tell, scene

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("encoder"), ENCODE_TIMEOUT_S="1") as there:
        yield there


@pytest.mark.parametrize("fault", ["raise", "nan", "zero"])
async def test_a_fault_that_passes_ends_in_good_vectors(there: Scene, fault: str, tell: Tell) -> None:
    worker = await there.running()
    before = worker.output().count('"code": "INFERENCE_FAILED"')
    board = there.board(f"encoder: {fault}, for a moment")
    there.control.set("tower", fault)
    board.send(*there.urls(4))
    async with asyncio.timeout(20):
        while worker.output().count('"code": "INFERENCE_FAILED"') == before:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.005)
    there.control.set("tower")
    await board.finished()
    assert board.retried >= 1
    tell(board.row())


@pytest.mark.parametrize("fault", ["raise", "nan", "zero"])
async def test_a_fault_that_stays_is_one_error_for_each_request(there: Scene, fault: str, tell: Tell) -> None:
    worker = await there.running()
    board = there.board(f"encoder: {fault}, for ever")
    there.control.set("tower", fault)
    board.send(*there.urls(4))
    await board.finished()
    assert board.codes == {"INFERENCE_FAILED": 4}
    assert worker.process.returncode is None
    assert "Traceback" not in worker.output()
    tell(board.row(permanent=True))


async def test_a_hanging_encoder_ends_the_worker_not_the_requests(there: Scene, tell: Tell) -> None:
    worker = await there.running()
    board = there.board("encoder: hangs")
    there.control.set("tower", "hang")
    board.send(*there.urls(4))
    assert await asyncio.wait_for(worker.process.wait(), 20) == 1
    log = worker.output()
    assert log.count('"event": "lane_lost"') == 1
    assert "A batch did not end within 1 s" in log
    assert "Traceback" not in log
    await there.running()
    await board.finished()
    assert board.retried >= 4
    tell(board.row())
