"""Every caller gets its own vector, whatever sizes, failures and cancellations surround it."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heimdex_clip.encoder.recovery import DeviceLost
from heimdex_clip.errors import ClipError, DeadlineExceeded, InferenceFailed
from worker.batcher import Batching, Device, MicroBatcher


class Squarer:
    """Squares numbers; fails for 13 alone, dies for the whole batch when it holds 66."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch: Sequence[int]) -> list[int | ClipError]:
        assert self.gate.wait(10)
        self.batches.append(list(batch))
        if 66 in batch:
            raise RuntimeError("device fault")
        return [InferenceFailed("unlucky") if value == 13 else value * value for value in batch]


def later(seconds: float = 60) -> float:
    return asyncio.get_running_loop().time() + seconds


class Rig:
    def __init__(self, *, max_batch: int = 4, wait_s: float = 0.001, coming: Callable[[], bool] = lambda: True) -> None:
        self.run = Squarer()
        self.device = Device()
        self.batcher: MicroBatcher[int, int] = MicroBatcher(self.run, self.device, Batching(max_batch, wait_s), coming)

    async def __aenter__(self) -> "Rig":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.run.gate.set()
        await self.batcher.close()
        self.device.close()


@given(
    values=st.lists(st.integers(0, 99), min_size=1, max_size=60),
    max_batch=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60)
def test_every_caller_gets_its_own_result(values: list[int], max_batch: int, seed: int) -> None:
    chance = random.Random(seed)

    async def scenario() -> None:
        async with Rig(max_batch=max_batch) as rig:
            tasks: list[asyncio.Task[object]] = []
            doomed: set[int] = set()
            for index, value in enumerate(values):
                tasks.append(asyncio.create_task(rig.batcher.submit(value, deadline=later())))
                if chance.random() < 0.2:
                    doomed.add(index)
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
            for index in doomed:
                tasks[index].cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            for index, (value, answer) in enumerate(zip(values, answers, strict=True)):
                if isinstance(answer, asyncio.CancelledError):
                    assert index in doomed
                elif value in (13, 66):
                    assert isinstance(answer, InferenceFailed)
                else:
                    assert not isinstance(answer, BaseException)
                    assert answer.value == value * value  # type: ignore[attr-defined]
            assert all(len(batch) <= max_batch for batch in rig.run.batches)

    asyncio.run(scenario())


async def test_what_arrives_while_the_device_is_busy_goes_together() -> None:
    async with Rig(max_batch=8) as rig:
        rig.run.gate.clear()
        first = asyncio.create_task(rig.batcher.submit(1, deadline=later()))
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(rig.batcher.submit(value, deadline=later())) for value in (2, 3, 4)]
        await asyncio.sleep(0.05)
        rig.run.gate.set()
        results = await asyncio.gather(first, *rest)
        assert rig.run.batches == [[1], [2, 3, 4]]
        assert [result.batch_size for result in results] == [1, 3, 3, 3]


async def test_nothing_is_waited_for_when_nothing_is_coming() -> None:
    async with Rig(max_batch=8, wait_s=30, coming=lambda: False) as rig:
        rig.run.gate.clear()
        first = asyncio.create_task(rig.batcher.submit(1, deadline=later()))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(rig.batcher.submit(2, deadline=later()))
        await asyncio.sleep(0.05)
        rig.run.gate.set()
        async with asyncio.timeout(10):
            await asyncio.gather(first, second)
        assert rig.run.batches == [[1], [2]]


async def test_cancelled_and_late_inputs_are_never_encoded() -> None:
    async with Rig(max_batch=8) as rig:
        rig.run.gate.clear()
        first = asyncio.create_task(rig.batcher.submit(1, deadline=later()))
        await asyncio.sleep(0.05)
        cancelled = asyncio.create_task(rig.batcher.submit(2, deadline=later()))
        late = asyncio.create_task(rig.batcher.submit(3, deadline=later(0.01)))
        kept = asyncio.create_task(rig.batcher.submit(4, deadline=later()))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        rig.run.gate.set()
        assert (await first).value == 1
        assert (await kept).value == 16
        with pytest.raises(DeadlineExceeded):
            await late
        assert rig.run.batches == [[1], [4]]


async def test_cancelling_one_caller_leaves_the_running_batch_to_the_others() -> None:
    async with Rig(max_batch=8, wait_s=0.2) as rig:
        rig.run.gate.clear()
        blocker = asyncio.create_task(rig.batcher.submit(1, deadline=later()))
        await asyncio.sleep(0.05)
        one = asyncio.create_task(rig.batcher.submit(2, deadline=later()))
        other = asyncio.create_task(rig.batcher.submit(3, deadline=later()))
        await asyncio.sleep(0.05)
        rig.run.gate.set()
        await blocker
        rig.run.gate.clear()
        await asyncio.sleep(0.3)  # both are on the device now
        one.cancel()
        rig.run.gate.set()
        assert (await other).value == 9


async def test_two_batchers_share_one_device_in_turns() -> None:
    device = Device()
    running = threading.Lock()

    def exclusive(batch: Sequence[int]) -> list[int | ClipError]:
        assert running.acquire(blocking=False), "two batches at once"
        try:
            return list(batch)
        finally:
            running.release()

    batchers: list[MicroBatcher[int, int]] = [MicroBatcher(exclusive, device, Batching(3, 0)) for _ in range(2)]
    answers = await asyncio.gather(
        *(batchers[value % 2].submit(value, deadline=later()) for value in range(40)),
    )
    assert [answer.value for answer in answers] == list(range(40))
    for batcher in batchers:
        await batcher.close()
    device.close()


async def test_a_batch_that_hangs_loses_the_device_for_all_and_tells_once() -> None:
    gate, told = threading.Event(), list[str]()
    device = Device(0.2, told.append)

    def hang(batch: Sequence[int]) -> list[int | ClipError]:
        assert gate.wait(10)
        return list(batch)

    batcher: MicroBatcher[int, int] = MicroBatcher(hang, device, Batching(2, 0))
    answers = await asyncio.gather(
        *(batcher.submit(value, deadline=later()) for value in range(5)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [DeviceLost] * 5
    assert told == ["A batch did not end within 0.2 s"]
    gate.set()
    with pytest.raises(DeviceLost):  # the thread is back, but what it holds is not to be trusted
        await batcher.submit(6, deadline=later())
    await batcher.close()
    device.close()


async def test_a_process_that_was_frozen_keeps_its_device() -> None:
    gate = threading.Event()
    device = Device(0.5)

    def held(batch: Sequence[int]) -> list[int | ClipError]:
        assert gate.wait(10)
        return list(batch)

    batcher: MicroBatcher[int, int] = MicroBatcher(held, device, Batching(2, 0))
    answer = asyncio.create_task(batcher.submit(1, deadline=later()))
    await asyncio.sleep(0.02)
    time.sleep(0.8)  # noqa: ASYNC251  # the whole loop stands still, as in a snapshot
    asyncio.get_running_loop().call_later(0.02, gate.set)
    assert (await answer).value == 1
    await batcher.close()
    device.close()


async def test_a_wrong_number_of_vectors_is_an_error_not_a_shift() -> None:
    device = Device()
    batcher: MicroBatcher[int, int] = MicroBatcher(lambda batch: list(batch)[1:], device, Batching(4, 0))
    with pytest.raises(InferenceFailed):
        await batcher.submit(1, deadline=later())
    await batcher.close()
    device.close()


async def test_closing_cancels_what_waits_and_what_runs() -> None:
    rig = Rig(max_batch=1)
    rig.run.gate.clear()
    tasks = [asyncio.create_task(rig.batcher.submit(value, deadline=later())) for value in range(3)]
    await asyncio.sleep(0.05)
    await rig.batcher.close()
    rig.run.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)
    rig.device.close()
