"""A tower's memory on both sides: pinned staging on the host, the same on the device, one stream between them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heimdex_clip.encoder.runtimes.cuda_driver import Driver


@dataclass(frozen=True, slots=True)
class _Buffer:
    host: int
    device: int
    size: int


class DeviceBuffers:
    """Buffers by tensor name; each grows to the largest that it had to hold, and is kept.

    Pointers hold until the same name needs more. `sent_bytes` counts what went to the device.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.sent_bytes = 0
        driver.attach()
        self.stream = driver.new_stream()
        self._buffers: dict[str, _Buffer] = {}

    def send(self, name: str, array: NDArray[np.generic]) -> int:
        """Copy an array to the device, in the stream's order; its device pointer."""
        buffer = self._room(name, array.nbytes)
        staged = _view(buffer.host, array.nbytes).view(array.dtype).reshape(array.shape)
        np.copyto(staged, array)
        self.driver.to_device(buffer.device, buffer.host, array.nbytes, self.stream)
        self.sent_bytes += array.nbytes
        return buffer.device

    def room(self, name: str, size: int) -> int:
        """The device pointer of `size` bytes for an output."""
        return self._room(name, size).device

    def fetch(self, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Wait for the stream and copy float32 of this shape back from `name`'s buffer."""
        size = shape[0] * shape[1] * np.dtype(np.float32).itemsize
        buffer = self._room(name, size)
        self.driver.to_host(buffer.host, buffer.device, size, self.stream)
        self.driver.synchronize(self.stream)
        return _view(buffer.host, size).view(np.float32).reshape(shape).copy()

    def _room(self, name: str, size: int) -> _Buffer:
        old = self._buffers.get(name)
        if old is not None and old.size >= size:
            return old
        if old is not None:
            # The stream may still use it.
            self.driver.synchronize(self.stream)
            del self._buffers[name]
            self.driver.free(old.device)
            self.driver.free_pinned(old.host)
        device = self.driver.allocate(size)
        self._buffers[name] = _Buffer(self.driver.allocate_pinned(size), device, size)
        return self._buffers[name]


def _view(pointer: int, size: int) -> NDArray[np.uint8]:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))


def pad_length(inputs: tuple[NDArray[np.generic], ...], lengths: tuple[int, ...]) -> tuple[NDArray[np.generic], ...]:
    """Token ids ``[B, L]`` padded with 0 to the next of `lengths`; other inputs as they are.

    The text tower is causal and reads at the end-of-text index, so padding after it changes nothing; a few
    lengths mean a few memory plans.
    """
    ids = inputs[0]
    if ids.ndim != 2:
        return inputs
    missing = next((length for length in lengths if length >= ids.shape[1]), ids.shape[1]) - ids.shape[1]
    return (np.pad(ids, ((0, 0), (0, missing))), *inputs[1:]) if missing else inputs


def text_lengths(context_length: int) -> tuple[int, ...]:
    """The lengths that GPU lanes run texts in, ascending up to the context."""
    return (*(length for length in (8, 16, 32) if length < context_length), context_length)
