"""Memory for decoded pixels, kept from one picture to the next."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray


class Buffers:
    """Lends out byte arrays. Those given back stay for the next picture, at most `max_idle_bytes` of them.

    A fresh array costs a page fault for every 4 KiB: a tenth of a 12-megapixel JPEG's time. Threads may share one.
    """

    def __init__(self, max_idle_bytes: int) -> None:
        self._max_idle_bytes = max_idle_bytes
        self._idle: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    @property
    def idle_bytes(self) -> int:
        """What waits for the next picture."""
        return sum(buffer.nbytes for buffer in self._idle)

    @contextmanager
    def borrow(self, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
        """uint8 of this shape with any content, the caller's own inside the block. Raises MemoryError."""
        n_bytes = math.prod(shape)
        with self._lock:
            large_enough = [buffer for buffer in self._idle if buffer.nbytes >= n_bytes]
            buffer = min(large_enough, key=lambda one: one.nbytes, default=None)
            if buffer is not None:
                self._idle = [one for one in self._idle if one is not buffer]
        if buffer is None:
            buffer = np.empty(n_bytes, np.uint8)
        try:
            yield buffer[:n_bytes].reshape(shape)
        finally:
            if buffer.nbytes <= self._max_idle_bytes:
                with self._lock:
                    self._idle.append(buffer)
                    while self.idle_bytes > self._max_idle_bytes:
                        del self._idle[0]  # the one that waited longest
