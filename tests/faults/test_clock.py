"""A clock that jumps, a worker that is frozen: deadlines are monotonic, signatures live by the wall clock."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from heimdex_clip.signing import sign_v1, sign_v2
from tests.e2e.rig import SECRET
from tests.faults.scene import Scene, Tell, scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR_S = 3600


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("clock"), JOB_TIMEOUT_S="15") as there:
        yield there


async def code_of(there: Scene, job_input: dict[str, object]) -> str:
    """What the worker answers to an input: "OK" or its error's code."""
    job = there.api.queue.submit(job_input)
    async with asyncio.timeout(20):
        await job.finished.wait()
    output = json.loads(b"{" + job.members + b"}")["output"]
    return str(output.get("code", "OK"))


def v1(url: str, now: float) -> dict[str, object]:
    return {"image_url": url, "auth": sign_v1(url, secret=SECRET, ts=int(now))}


def v2(there: Scene, url: str, now: float) -> dict[str, object]:
    text = json.dumps({"aud": there.api.endpoint_id, "exp": int(now) + 120, "image_url": url})
    return {"payload": text, "auth": sign_v2(text, secret=SECRET)}


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
async def test_a_jump_of_an_hour_harms_no_job_under_way(there: Scene, jump_s: int, tell: Tell) -> None:
    await there.running()
    board = there.board(f"clock jumps by {jump_s:+} s, jobs under way")
    there.control.set("tower", "hold")
    board.send(*there.urls(1))
    await there.control.reached("encoding")
    board.send(*there.urls(4))
    await there.control.reached("decoded", 5)
    there.control.set("clock", str(jump_s))
    there.control.set("tower")
    await board.finished()
    assert board.retried == 0
    tell(board.row())


@pytest.mark.parametrize(
    ("jump_s", "signed_s", "v1_code", "v2_code"),
    [
        (HOUR_S, HOUR_S, "OK", "OK"),  # the clock was wrong before, and is right now
        (HOUR_S, 0, "AUTH_EXPIRED", "AUTH_EXPIRED"),
        (-HOUR_S, -HOUR_S, "OK", "OK"),
        (-HOUR_S, 0, "AUTH_FAILED", "OK"),  # v1 from the future; v2 may live for a day
    ],
)
async def test_signatures_are_held_to_the_wall_clock(
    there: Scene, jump_s: int, signed_s: int, v1_code: str, v2_code: str
) -> None:
    await there.running()
    there.control.set("clock", str(jump_s))
    (url,) = there.urls(1)
    now = time.time() + signed_s
    assert await code_of(there, v1(url, now)) == v1_code
    assert await code_of(there, v2(there, url, now)) == v2_code


async def test_a_clock_that_stays_an_hour_ahead_is_one_error_for_each_request(there: Scene, tell: Tell) -> None:
    await there.running()
    there.control.set("clock", str(HOUR_S))
    board = there.board("clock stays an hour ahead of the callers'")
    board.send(*there.urls(4))
    await board.finished()
    assert board.codes == {"AUTH_EXPIRED": 4}
    assert board.retried == 4  # signed anew once
    tell(board.row(permanent=True))


async def test_a_frozen_worker_goes_on_where_it_was(there: Scene, tell: Tell) -> None:
    worker = await there.running()
    board = there.board("worker frozen in a batch, then resumed")
    there.control.set("tower", "hold")
    board.send(*there.urls(1))
    await there.control.reached("encoding")
    board.send(*there.urls(4))
    await there.control.reached("decoded", 5)
    worker.process.send_signal(signal.SIGSTOP)
    async with asyncio.timeout(20):
        while board.retried < 5:  # noqa: ASYNC110  # the client gives its attempts up
            await asyncio.sleep(0.05)
    there.control.set("tower")
    there.control.set("clock", str(HOUR_S))
    worker.process.send_signal(signal.SIGCONT)
    await asyncio.sleep(0.3)
    there.control.set("clock")  # what was signed meanwhile is judged by the right time
    await board.finished()
    assert worker.process.returncode is None
    tell(board.row())
