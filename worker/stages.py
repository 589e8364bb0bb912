"""The stages between a source and a vector: what runs where, and on which budget."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heimdex_clip.encoder.cpus import available_cpus
from heimdex_clip.encoder.encoder import Encoder, usable
from heimdex_clip.encoder.preprocess import preprocess
from heimdex_clip.encoder.routes import Route
from heimdex_clip.errors import ClipError, InferenceFailed
from worker.admission import ThreadGate

Pixels = NDArray[np.uint8]
Vector = NDArray[np.float32]
Decode = Callable[[bytes], Awaitable[Pixels]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One vector, float32 ``[D]``, not normalised; `truncated` where a text lost tokens."""

    vector: Vector
    truncated: bool = False


class Decoder:
    """Decodes in threads (the decoders and the resampler release the GIL), within a budget of decoded bytes."""

    def __init__(self, *, size: int, max_pixels: int, max_bytes: int, route: Route | None = None) -> None:
        """`route` is for comparisons: None takes the fastest, and all give the same pixels."""
        self._size = size
        self._max_pixels = max_pixels
        self._route = route
        self._gate = ThreadGate(max_bytes)
        self._threads = ThreadPoolExecutor(available_cpus(), thread_name_prefix="decode")

    async def __call__(self, data: bytes) -> Pixels:
        """Encoded image -> uint8 ``[size, size, 3]``. Raises ImageInvalid, ImageTooLarge, Overloaded."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._decode, data)

    def _decode(self, data: bytes) -> Pixels:
        return preprocess(data, size=self._size, max_pixels=self._max_pixels, hold=self._gate.hold, route=self._route)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def image_runner(encoder: Encoder) -> Callable[[Sequence[Pixels]], list[Encoded | ClipError]]:
    """The image batcher's `run`: a list of pixels to a list of vectors or errors."""

    def run(batch: Sequence[Pixels]) -> list[Encoded | ClipError]:
        return _checked(encoder.encode_pixels(np.stack(batch)), (False,) * len(batch))

    return run


def text_runner(encoder: Encoder) -> Callable[[Sequence[str]], list[Encoded | ClipError]]:
    """The text batcher's `run`."""

    def run(batch: Sequence[str]) -> list[Encoded | ClipError]:
        return _checked(*encoder.encode_texts(batch))

    return run


def _checked(vectors: NDArray[np.float32], truncated: Sequence[bool]) -> list[Encoded | ClipError]:
    # A NaN or a zero in an index is worse than an error: it stays there.
    return [
        Encoded(vector, cut) if good else InferenceFailed("The vector is not finite or zero")
        for vector, cut, good in zip(vectors, truncated, usable(vectors), strict=True)
    ]
