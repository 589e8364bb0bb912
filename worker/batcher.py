"""The micro-batcher: whatever is ready is encoded together whenever the device is free."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from heimdex_clip.encoder.recovery import DeviceLost
from heimdex_clip.errors import ClipError, DeadlineExceeded, InferenceFailed

In = TypeVar("In")
Out = TypeVar("Out")
Run = Callable[[Sequence[In]], Sequence[Out | ClipError]]

_TICKS = 10


@dataclass(frozen=True, slots=True)
class Batching:
    """An idle device starts at once; a busy one waits at most `wait_s` seconds for up to `max_batch` inputs."""

    max_batch: int
    wait_s: float


class Device:
    """The one thread that owns the device, and the turn-taking of the batchers that share it.

    A batch that runs for more than `timeout_s` hangs. Its thread cannot be stopped, so nothing more runs here, and
    `tell_lost` is called once with the reason.
    """

    def __init__(self, timeout_s: float = 60.0, tell_lost: Callable[[str], object] = lambda _: None) -> None:
        self.turn = asyncio.Lock()
        self._timeout_s = timeout_s
        self._tell_lost = tell_lost
        self._lost = ""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device")

    async def run(self, run: Run[In, Out], inputs: Sequence[In]) -> Sequence[Out | ClipError]:
        """Run a batch on the device's thread. Raises what `run` raises, and DeviceLost once one hangs."""
        if self._lost:
            raise DeviceLost(self._lost)
        running = asyncio.get_running_loop().run_in_executor(self._thread, run, inputs)
        try:
            # In ticks, so that a process that is frozen and resumed loses one of them, not its device.
            for _ in range(_TICKS):
                done, _ = await asyncio.wait({running}, timeout=self._timeout_s / _TICKS)
                if done:
                    return running.result()
        finally:
            running.cancel()
        self._lost = f"A batch did not end within {self._timeout_s:g} s"
        self._tell_lost(self._lost)
        raise DeviceLost(self._lost)

    def close(self) -> None:
        """Let the thread end once its batch is done."""
        self._thread.shutdown(wait=False)


@dataclass(slots=True)
class Timed(Generic[Out]):
    """A result with its own times: waiting for the device, and the batch's run."""

    value: Out
    queue_ms: float
    inference_ms: float
    batch_size: int


@dataclass(slots=True)
class _Waiting(Generic[In, Out]):
    input: In
    deadline: float
    since: float
    answer: asyncio.Future[Timed[Out]]


class MicroBatcher(Generic[In, Out]):
    """Batches single inputs into calls of `run`, which returns a result or an error for each, in order.

    Inputs whose caller was cancelled, or whose deadline (loop time) has passed, are dropped before they cost
    anything. A batch that raises is run again one by one, so that one input's failure stays its own. Nothing waits
    for a fuller batch unless `coming` says that an input is on its way.
    """

    def __init__(
        self, run: Run[In, Out], device: Device, batching: Batching, coming: Callable[[], bool] = lambda: True
    ) -> None:
        self._run = run
        self._device = device
        self._coming = coming
        self._max_batch = batching.max_batch
        self._wait_s = batching.wait_s
        self._waiting: deque[_Waiting[In, Out]] = deque()
        self._changed = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    async def submit(self, value: In, *, deadline: float) -> Timed[Out]:
        """Encode one input. Raises InferenceFailed, DeadlineExceeded, or what `run` returned for it."""
        loop = asyncio.get_running_loop()
        waiting: _Waiting[In, Out] = _Waiting(value, deadline, loop.time(), loop.create_future())
        self._waiting.append(waiting)
        self._changed.set()
        if self._pump is None:
            self._pump = loop.create_task(self._serve())
        return await waiting.answer

    async def close(self) -> None:
        """Stop; whatever still waits or runs is cancelled."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        while self._waiting:
            self._waiting.popleft().answer.cancel()

    async def _serve(self) -> None:
        while True:
            idle = not self._waiting
            await self._wait_for_input()
            async with self._device.turn:
                if not idle and len(self._waiting) < self._max_batch:
                    await self._wait_for_more()
                batch = self._take()
                if batch:
                    await self._encode(batch)

    async def _wait_for_input(self) -> None:
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()

    async def _wait_for_more(self) -> None:
        until = time.monotonic() + self._wait_s
        while len(self._waiting) < self._max_batch and self._coming() and (left := until - time.monotonic()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return

    def _take(self) -> list[_Waiting[In, Out]]:
        now = asyncio.get_running_loop().time()
        batch: list[_Waiting[In, Out]] = []
        while self._waiting and len(batch) < self._max_batch:
            waiting = self._waiting.popleft()
            if waiting.answer.done():
                continue
            if waiting.deadline <= now:
                waiting.answer.set_exception(DeadlineExceeded("The deadline passed before the encoder's turn"))
                continue
            batch.append(waiting)
        return batch

    async def _encode(self, batch: list[_Waiting[In, Out]]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            results = await self._run_isolated([waiting.input for waiting in batch])
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.answer.cancel()
            raise
        inference_ms = (loop.time() - started) * 1000
        for waiting, result in zip(batch, results, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(result, ClipError):
                waiting.answer.set_exception(result)
            else:
                queue_ms = (started - waiting.since) * 1000
                waiting.answer.set_result(Timed(result, queue_ms, inference_ms, len(batch)))

    async def _run_isolated(self, inputs: list[In]) -> list[Out | ClipError]:
        try:
            results = list(await self._device.run(self._run, inputs))
            if len(results) != len(inputs):
                raise InferenceFailed("The encoder returned another number of vectors than it was given")
        except ClipError as error:
            failure: ClipError = error
        # Whatever a runtime raises, its callers get an answer and the pump lives on.
        except Exception as error:  # noqa: BLE001
            failure = InferenceFailed(f"The encoder failed ({type(error).__name__})")
        else:
            return results
        if len(inputs) == 1:
            return [failure]
        return [result for one in inputs for result in await self._run_isolated([one])]
