"""What every lane of a GPU is held to. The tests of these checks run them without one, on the driver's double."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from heimdex_clip.encoder.encoder import Encoder
from heimdex_clip.encoder.gates import EXPORT_FP16, measure

RUNS = 3
"""Of each size, with other inputs each: with CUDA graphs the first captures and the later ones replay."""
_WORDS = "a photo of the very large red dog that sits on every old boat in some distant harbour at night"


def photographs(count: int, side: int) -> NDArray[np.uint8]:
    """Smooth random pictures, others in every run; the seed is printed for a failure to be repeated."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 9, 9, 3), np.uint8)
    large = [Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC) for one in coarse]
    noise = random.integers(-20, 21, (count, side, side, 3))
    return np.clip(np.stack([np.asarray(one) for one in large]) + noise, 0, 255).astype(np.uint8)


def texts(count: int) -> list[str]:
    """Texts of many lengths, others in every run."""
    words = _WORDS.split()
    return [f"{' '.join(words[: 1 + row % len(words)])} {secrets.randbits(16)}" for row in range(count)]


def pictures_hold(encoder: Encoder, size: int, reference: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> None:
    """Batches of `size` pass the gate against the reference, in every run."""
    for run in range(RUNS):
        pixels = photographs(size, encoder.image_size)
        parity = measure(encoder.encode_pixels(pixels), reference(pixels))
        assert EXPORT_FP16.holds(parity), f"run {run + 1}: {parity}"


def texts_hold(encoder: Encoder, size: int, reference: Callable[[Sequence[str]], NDArray[np.float32]]) -> None:
    """The same for texts."""
    for run in range(RUNS):
        words = texts(size)
        parity = measure(encoder.encode_texts(words)[0], reference(words))
        assert EXPORT_FP16.holds(parity), f"run {run + 1}: {parity}"


def copies_hold(copies: Sequence[int], pixels: NDArray[np.uint8]) -> None:
    """Of all copies to the device during a run, in bytes, the pixels' own is the largest, and is there once."""
    assert copies, "no copy was seen at all"
    assert max(copies) == pixels.nbytes, f"{max(copies)} bytes for pixels of {pixels.nbytes}"
    assert list(copies).count(pixels.nbytes) == 1
    assert sum(copies) < 1.01 * pixels.nbytes + 4096, f"{sum(copies)} bytes in all"


def copies_to_device(trace: Mapping[str, Any]) -> list[int]:
    """The bytes of each copy to the device in a trace of PyTorch's profiler, whichever library made it."""
    events = trace["traceEvents"]
    copies = [event for event in events if event.get("cat") == "gpu_memcpy" and "HtoD" in event["name"]]
    return [int(event["args"]["bytes"]) for event in copies]
