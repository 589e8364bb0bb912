import asyncio
import threading
import time

import pytest

from heimdex_clip.errors import Overloaded
from worker.admission import Admission, ThreadGate, WeightedSemaphore


async def test_weights_are_served_in_order() -> None:
    room = WeightedSemaphore(10)
    assert await room.acquire(6) == 6
    order: list[str] = []

    async def take(name: str, weight: int) -> None:
        held = await room.acquire(weight)
        order.append(name)
        room.release(held)

    big = asyncio.create_task(take("big", 8))
    await asyncio.sleep(0)
    small = asyncio.create_task(take("small", 1))
    await asyncio.sleep(0)
    assert order == []  # the small one fits, but does not overtake
    room.release(6)
    await asyncio.gather(big, small)
    assert order == ["big", "small"]
    assert room.held == 0


async def test_more_than_everything_runs_alone() -> None:
    room = WeightedSemaphore(10)
    held = await room.acquire(1000)
    assert held == 10
    waiting = asyncio.create_task(room.acquire(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.release(held)
    assert await waiting == 1


@pytest.mark.parametrize("granted", [False, True])
async def test_a_cancelled_waiter_leaves_nothing_taken(granted: bool) -> None:
    room = WeightedSemaphore(4)
    held = await room.acquire(4)
    waiting = asyncio.create_task(room.acquire(3))
    behind = asyncio.create_task(room.acquire(2))
    await asyncio.sleep(0)
    if granted:  # cancelled between being granted and being resumed
        room.release(held)
        held = 0
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if held:
        room.release(held)
    assert await behind == 2
    room.release(2)
    assert room.held == 0


async def test_admission_counts_waiting_and_refuses_at_once() -> None:
    admission = Admission(max_items=2, max_queued=3)
    with admission.enter(5):
        async with admission.slot(), admission.slot():
            assert (admission.running, admission.queued) == (2, 3)
            with pytest.raises(Overloaded), admission.enter(1):
                pass
    assert (admission.running, admission.queued) == (0, 0)
    admission.closed = True
    with pytest.raises(Overloaded, match="shutting down"), admission.enter(1):
        pass


def test_thread_gate_bounds_what_is_held() -> None:
    gate, lock = ThreadGate(100), threading.Lock()
    held = peak = 0

    def work(weight: int) -> None:
        nonlocal held, peak
        with gate.hold(weight):
            with lock:
                held += min(weight, 100)
                peak = max(peak, held)
            time.sleep(0.002)
            with lock:
                held -= min(weight, 100)

    threads = [threading.Thread(target=work, args=(weight,)) for weight in (30, 60, 500, 100, 10, 99, 1) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert 0 < peak <= 100


async def test_one_key_cannot_take_everything_and_others_pass_its_waiters() -> None:
    room = WeightedSemaphore(8, share=3 / 4)
    for _ in range(6):
        await room.acquire(1, "slow")
    late = asyncio.create_task(room.acquire(1, "slow"))
    await asyncio.sleep(0)
    assert not late.done()
    assert await room.acquire(1, "other") == 1
    assert await room.acquire(1) == 1
    assert (room.held, late.done()) == (8, False)
    room.release(1)
    await asyncio.sleep(0)
    assert not late.done()  # there is room, but not for this key
    room.release(1, "slow")
    assert await late == 1
    for _ in range(6):
        room.release(1, "slow")
    room.release(1, "other")
    assert room.held == 0


async def test_the_first_of_a_key_may_be_heavier_than_its_share() -> None:
    room = WeightedSemaphore(8, share=1 / 2)
    assert await room.acquire(8, "slow") == 8
    waiting = asyncio.create_task(room.acquire(1, "slow"))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.release(8, "slow")
    assert await waiting == 1


async def test_a_key_without_holders_is_forgotten() -> None:
    room = WeightedSemaphore(8, share=1 / 2)
    for n in range(100):
        room.release(await room.acquire(1, f"host-{n}"), f"host-{n}")
    assert not room._key_held
    assert not room._waiting


async def test_a_waiter_cancelled_in_the_same_step_as_a_release_takes_nothing() -> None:
    room = WeightedSemaphore(1)
    held = await room.acquire(1)
    waiting = asyncio.create_task(room.acquire(1))
    await asyncio.sleep(0)
    waiting.cancel()
    room.release(held)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert room.held == 0
    assert await room.acquire(1) == 1
