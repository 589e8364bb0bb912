"""Admission: how many items and bytes are worked on at once, and how many may wait."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from heimdex_clip.errors import Overloaded

HOST_SHARE = 7 / 8
"""What the images of one host may have of the slots, and of the bytes, that all share. A customer's storage is often
one host, so it is no low limit: what is left keeps others going while that host stalls."""


class WeightedSemaphore:
    """A semaphore whose holders take different weights, served first come, first served.

    A weight over the whole capacity counts as the capacity: it runs alone rather than never. Holders that name the
    same `key` have at most `share` of the capacity together (though one of them always may), and while they wait
    for their own, others pass them.
    """

    def __init__(self, capacity: int, *, share: float = 1.0) -> None:
        self._capacity = capacity
        self._free = capacity
        self._key_limit = math.ceil(capacity * share)
        self._key_held: Counter[str] = Counter()
        self._tickets = itertools.count()
        self._waiting: dict[str, deque[_Waiter]] = {}

    @property
    def held(self) -> int:
        """Weight in use now."""
        return self._capacity - self._free

    async def acquire(self, weight: int, key: str = "") -> int:
        """Wait for room; returns the weight to release. Cancelling leaves nothing taken. "" is no key."""
        waiter = _Waiter(next(self._tickets), min(weight, self._capacity), asyncio.get_running_loop().create_future())
        self._waiting.setdefault(key, deque()).append(waiter)
        self._wake()
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.release(waiter.weight, key)
            else:
                self._remove(waiter, key)
                self._wake()
            raise
        return waiter.weight

    def release(self, weight: int, key: str = "") -> None:
        """Give back what `acquire` returned, under the same key."""
        self._free += weight
        if key:
            self._key_held[key] -= weight
            if not self._key_held[key]:
                del self._key_held[key]
        self._wake()

    def _wake(self) -> None:
        """Let in who came first among those whose key has room; smaller ones behind it do not overtake it."""
        while heads := [(queue[0].ticket, key) for key, queue in self._waiting.items() if self._within(key, queue[0])]:
            key = min(heads)[1]
            waiter = self._waiting[key][0]
            if waiter.weight > self._free:
                return
            self._remove(waiter, key)
            if waiter.turn.done():
                continue  # cancelled, and not yet told
            self._free -= waiter.weight
            if key:
                self._key_held[key] += waiter.weight
            waiter.turn.set_result(None)

    def _within(self, key: str, waiter: _Waiter) -> bool:
        held = self._key_held[key] if key else 0
        return not held or held + waiter.weight <= self._key_limit

    def _remove(self, waiter: _Waiter, key: str) -> None:
        queue = self._waiting.get(key, ())
        if waiter in queue:
            self._waiting[key].remove(waiter)
            if not queue:
                del self._waiting[key]


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    ticket: int
    weight: int
    turn: asyncio.Future[None]


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
        self._slots = WeightedSemaphore(max_items, share=HOST_SHARE)
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
    async def slot(self, host: str = "") -> AsyncIterator[None]:
        """Wait for one item's turn; `host` is where it is downloaded from, if it is."""
        weight = await self._slots.acquire(1, host)
        try:
            yield
        finally:
            self._slots.release(weight, host)
