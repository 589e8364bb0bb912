"""heimdex_clip as a library: the encoder on its CPU lane, as a program calls it that has the image's bytes."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.peers import protocol
from heimdex_clip.encoder.encoder import open_encoder
from heimdex_clip.encoder.preprocess import preprocess

_MAX_PIXELS = 50_000_000


class Own:
    """`open_encoder` (hashes and self-test included) and `preprocess`; the encoder takes one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._encoder = open_encoder(folder, runtime="cpu")
        self._turn = threading.Lock()

    def images(self, files: Sequence[bytes]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`."""
        pixels = np.stack([self._pixels(data) for data in files])
        with self._turn:
            vectors: list[list[float]] = self._encoder.encode_pixels(pixels).tolist()
        return vectors

    def texts(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`."""
        vectors: list[list[float]] = self._encoder.encode_texts(texts)[0].tolist()
        return vectors

    def pixels(self, files: Sequence[bytes]) -> list[str]:
        """sha256 of each image's bytes as the graph takes them."""
        return [hashlib.sha256(self._pixels(data).tobytes()).hexdigest() for data in files]

    def _pixels(self, data: bytes) -> NDArray[np.uint8]:
        return preprocess(data, size=self._encoder.image_size, max_pixels=_MAX_PIXELS)


if __name__ == "__main__":
    protocol.serve(Own, sys.argv[1:])
