"""A share of the traffic to a second endpoint as well, to see how far its vectors lie from the first one's.

Nothing of it touches an answer: what is offered is queued or dropped at once, and asked for in threads of its own.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from heimdex_clip._exchange import Steps, T
from heimdex_clip.backends.base import Backend
from heimdex_clip.contract import Embedding, Source
from heimdex_clip.errors import ClipError

_THREADS = 2
_MAX_WAITING = 32  # images sent along are held while they wait
_WINDOW = 1000  # cosines that the distribution is of
_EVERY = 100  # comparisons between two log lines, after the first few

_log = logging.getLogger("heimdex_clip")


class Driver(Protocol):
    """Does what steps say."""

    def run(self, steps: Steps[T]) -> T:
        """Until they end. Raises their ClipError."""

    def close(self) -> None:
        """No more."""


class Canary:
    """Compares. `draw` gives a number from 0 to 100 for each offer; below `percent` it is taken."""

    def __init__(
        self,
        backend: Backend,
        new_driver: Callable[[], Driver],
        *,
        percent: float,
        draw: Callable[[], float],
        max_waiting: int = _MAX_WAITING,
    ) -> None:
        self._backend = backend
        self._new_driver = new_driver
        self._percent = percent
        self._draw = draw
        self._waiting: queue.Queue[tuple[Source, Embedding]] = queue.Queue(max_waiting)
        self._starting = threading.Lock()
        self._started = False
        self._closing = threading.Event()
        self._tally = _Tally()

    def offer(self, source: Source, answer: Embedding) -> None:
        """Take it or leave it, at once; never raises."""
        if self._closing.is_set() or self._draw() >= self._percent:
            return
        try:
            self._start()
            self._waiting.put_nowait((source, answer))
        except (queue.Full, RuntimeError):  # RuntimeError: no thread can be started
            self._tally.drop()

    def close(self) -> None:
        """Forget what waits and log the distribution; what is under way ends by itself, and is not waited for."""
        self._closing.set()
        self._tally.report("at the end")

    def _start(self) -> None:
        with self._starting:
            if self._started:
                return
            self._started = True
            for _ in range(_THREADS):
                # A daemon: a canary that hangs must not keep the process.
                threading.Thread(target=self._work, name="clip-canary", daemon=True).start()

    def _work(self) -> None:
        driver = self._new_driver()
        try:
            while not self._closing.is_set():
                try:
                    source, answer = self._waiting.get(timeout=0.5)
                except queue.Empty:
                    continue
                self._compare(driver, source, answer)
        finally:
            driver.close()

    def _compare(self, driver: Driver, source: Source, answer: Embedding) -> None:
        request_id = answer.request_id or ""
        try:
            steps = self._backend.embed(source, request_id, normalize=answer.normalized)
            self._tally.add(cosine(answer.vector, driver.run(steps).vector))
        except ClipError as error:
            self._tally.fail(error.code)
        # The last line of defence: this thread must live on, and nobody would see it raise.
        except Exception as error:  # noqa: BLE001
            self._tally.fail(type(error).__name__)


class _Tally:
    """What came of the comparisons, told to the log now and then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cosines: deque[float] = deque(maxlen=_WINDOW)
        self._compared = self._failed = self._dropped = 0
        self._last_failure = ""

    def add(self, value: float) -> None:
        with self._lock:
            self._cosines.append(value)
            self._compared += 1
            due = self._compared in (1, 10) or self._compared % _EVERY == 0
        if due:
            self.report("so far")

    def fail(self, code: str) -> None:
        with self._lock:
            self._failed += 1
            self._last_failure = code
            due = self._failed in (1, 10) or self._failed % _EVERY == 0
        if due:
            self.report("so far")

    def drop(self) -> None:
        with self._lock:
            self._dropped += 1

    def report(self, when: str) -> None:
        with self._lock:
            total = self._compared + self._failed + self._dropped
            line = f"CLIP canary {when}: {self._compared} compared, {self._failed} failed, {self._dropped} dropped"
            if self._cosines:
                line += f"; cosine {_distribution(sorted(self._cosines))}"
            if self._last_failure:
                line += f"; last failure {self._last_failure}"
        if total:
            _log.info("%s", line)


def cosine(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Cosine similarity. Raises ValueError for vectors of different length or without one."""
    if len(one) != len(other):
        raise ValueError("the vectors have different dimensions")
    lengths = math.sqrt(sum(x * x for x in one)) * math.sqrt(sum(x * x for x in other))
    if not lengths:
        raise ValueError("a vector is zero")
    return sum(x * y for x, y in zip(one, other, strict=True)) / lengths


def _distribution(ascending: list[float]) -> str:
    shares = {"min": 0.0, "p01": 0.01, "p10": 0.1, "p50": 0.5, "max": 1.0}
    return " ".join(f"{name} {ascending[round(share * (len(ascending) - 1))]:.6f}" for name, share in shares.items())
