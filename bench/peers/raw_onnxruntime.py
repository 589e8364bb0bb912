"""ONNX Runtime and Pillow with nothing around them: what anybody writes in thirty lines.

The graph is whichever lies in the folder: this project's (`image.fp32.onnx`, bytes in) or the plain export that the
other peers read (`onnx_clip/visual.onnx`, floats in). Images only: there is no tokenizer in thirty lines.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from bench.peers import protocol

_SIZE = 224
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


class RawOnnxRuntime:
    """One session with default options."""

    def __init__(self, folder: Path) -> None:
        own = folder / "image.fp32.onnx"
        self._takes_bytes = own.exists()
        path = own if self._takes_bytes else folder / "onnx_clip" / "visual.onnx"
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def images(self, files: Sequence[bytes]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`."""
        pixels: NDArray[np.generic] = np.stack([_pixels(data) for data in files])
        if not self._takes_bytes:
            scaled = (pixels.astype(np.float32) / 255 - _MEAN) / _STD
            pixels = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
        vectors: Sequence[Sequence[float]] = self._session.run(None, {self._input: pixels})[0]
        return vectors

    def texts(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`. Raises NotImplementedError."""
        raise NotImplementedError("no tokenizer")


def _pixels(data: bytes) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    short = min(image.size)
    image = image.resize((_SIZE * image.width // short, _SIZE * image.height // short), Image.Resampling.BICUBIC)
    left, top = (image.width - _SIZE) // 2, (image.height - _SIZE) // 2
    return np.asarray(image.crop((left, top, left + _SIZE, top + _SIZE)))


if __name__ == "__main__":
    protocol.serve(RawOnnxRuntime, sys.argv[1:])
