"""fastembed (Qdrant) with local model folders, by its documented calls."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import fastembed
from PIL import Image

from bench.peers import protocol


class Fastembed:
    """`ImageEmbedding` and, once texts come, `TextEmbedding`; their vectors are not normalised by the library."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images = fastembed.ImageEmbedding(
            "Qdrant/clip-ViT-B-32-vision", specific_model_path=str(folder / "fastembed-vision")
        )
        self._texts: fastembed.TextEmbedding | None = None

    def images(self, files: Sequence[bytes]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`."""
        pictures = [Image.open(io.BytesIO(data)) for data in files]
        return list(self._images.embed(pictures, batch_size=len(pictures)))

    def texts(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`."""
        if self._texts is None:
            self._texts = fastembed.TextEmbedding(
                "Qdrant/clip-ViT-B-32-text", specific_model_path=str(self._folder / "fastembed-text")
            )
        return list(self._texts.embed(list(texts)))


if __name__ == "__main__":
    protocol.serve(Fastembed, sys.argv[1:])
