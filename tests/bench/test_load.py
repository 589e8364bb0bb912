from __future__ import annotations

import asyncio

import pytest

from bench.errors import BenchError
from bench.load import closed_loop


async def test_every_client_waits_for_its_answer_before_it_sends_again() -> None:
    running: set[int] = set()
    most = 0

    async def answered(number: int) -> None:
        nonlocal most
        client = number % 3
        assert client not in running
        running.add(client)
        most = max(most, len(running))
        await asyncio.sleep(0.002)
        running.remove(client)

    load = await closed_loop(answered, clients=3, window_s=0.2)

    assert most == 3
    assert not running
    assert load.clients == 3
    assert 0 < load.jobs < load.all_jobs
    assert 2 <= load.p50_ms <= load.p99_ms <= load.max_ms


async def test_the_rate_is_taken_between_answers_that_come_in_batches() -> None:
    # Batches of four every 50 ms: counting over the window's own edges would be a batch too many or too few.
    tick = asyncio.Event()

    async def ticking() -> None:
        nonlocal tick
        while True:
            await asyncio.sleep(0.05)
            due, tick = tick, asyncio.Event()
            due.set()

    async def answered(_number: int) -> None:
        await tick.wait()

    clock = asyncio.create_task(ticking())
    load = await closed_loop(answered, clients=4, window_s=0.22)
    clock.cancel()

    assert load.jobs % 4 == 0
    assert load.jobs_per_s <= 80


async def test_a_job_that_fails_ends_the_loop_with_its_error() -> None:
    async def answered(number: int) -> None:
        await asyncio.sleep(0.001)
        if number == 5:
            raise BenchError("job 5 failed")

    with pytest.raises(ExceptionGroup) as caught:
        await closed_loop(answered, clients=2, window_s=60)
    assert caught.group_contains(BenchError, match="job 5 failed")


async def test_the_window_lasts_until_every_client_could_be_answered_twice() -> None:
    async def answered(_number: int) -> None:
        await asyncio.sleep(0.03)

    load = await closed_loop(answered, clients=5, window_s=0)

    assert load.jobs >= 10
    assert load.jobs_per_s <= 5 / 0.03
