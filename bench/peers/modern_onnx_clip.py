"""modern-onnx-clip with a local folder, by its documented calls."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from onnx_clip import OnnxClip
from PIL import Image

from bench.peers import protocol


class ModernOnnxClip:
    """`OnnxClip`, which opens both towers at once."""

    def __init__(self, folder: Path) -> None:
        self._clip = OnnxClip(str(folder / "onnx_clip"), silent=True)

    def images(self, files: Sequence[bytes]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`."""
        vectors: Sequence[Sequence[float]] = self._clip.get_image_embedding(
            [Image.open(io.BytesIO(data)) for data in files]
        )
        return vectors

    def texts(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`."""
        vectors: Sequence[Sequence[float]] = self._clip.get_text_embedding(list(texts))
        return vectors


if __name__ == "__main__":
    protocol.serve(ModernOnnxClip, sys.argv[1:])
