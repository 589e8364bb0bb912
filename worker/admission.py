"""Admission: how many items and bytes are worked on at once, and how many may wait."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from heimdex_clip.errors import Overloaded


class WeightedSemaphore:
    """A semaphore whose holders take different weights, served first come, first served.

    A weight over the whole capacity counts as the capacity: it runs alone rather than never.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def held(self) -> int:
        """Weight in use now."""
        return self._capacity - self._free

    async def acquire(self, weight: int) -> int:
        """Wait for room; returns the weight to release. Cancelling leaves nothing taken."""
        weight = min(weight, self._capacity)
        if weight <= self._free and not self._waiting:
            self._free -= weight
            return weight
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((weight, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(weight)
            else:
                self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
                self._wake()
            raise
        return weight

    def release(self, weight: int) -> None:
        """Give back what `acquire` returned."""
        self._free += weight
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            weight, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= weight
                turn.set_result(None)


class ThreadGate:
    """A weighted limit for worker threads: decoded pixels held at once, in bytes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._free = capacity
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, weight: int) -> Iterator[None]:
        """Block until `weight` fits (or everything is free, for more than the capacity)."""
        weight = min(weight, self._capacity)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= weight)
            self._free -= weight
        try:
            yield
        finally:
            with self._changed:
                self._free += weight
                self._changed.notify_all()


class Admission:
    """Lets at most `max_items` run while at most `max_queued` wait; the rest is Overloaded at once."""

    def __init__(self, *, max_items: int, max_queued: int) -> None:
        self._slots = WeightedSemaphore(max_items)
        self._max_items = max_items
        self._max_queued = max_queued
        self._admitted = 0
        self.closed = False

    @property
    def running(self) -> int:
        """Items worked on now."""
        return self._slots.held

    @property
    def queued(self) -> int:
        """Items waiting now."""
        return self._admitted - self._slots.held

    @contextmanager
    def enter(self, items: int) -> Iterator[None]:
        """Count a request's items in. Raises Overloaded when they cannot all wait, or when closed."""
        if self.closed:
            raise Overloaded("The worker is shutting down")
        if self._admitted + items > self._max_items + self._max_queued:
            raise Overloaded(f"The worker has {self._admitted} items to do already")
        self._admitted += items
        try:
            yield
        finally:
            self._admitted -= items

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for one item's turn."""
        weight = await self._slots.acquire(1)
        try:
            yield
        finally:
            self._slots.release(weight)
