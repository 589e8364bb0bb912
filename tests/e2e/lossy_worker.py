"""The worker on a device that fails: ``python -m tests.e2e.lossy_worker handler|serve WORDS``.

The first batch is encoded; from the second on the tower raises what a runtime makes of WORDS.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from numpy.typing import NDArray

from heimdex_clip.encoder import recovery
from heimdex_clip.encoder.encoder import Encoder
from worker import handler, log, server, settings, startup
from worker.settings import Settings


class LossyTower:
    """Encodes once with a real tower, then fails for ever."""

    def __init__(self, encoder: Encoder, words: str) -> None:
        self._encoder = encoder
        self._words = words
        self._runs = 0

    def __call__(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        self._runs += 1
        if self._runs > 1:
            raise recovery.from_message(self._words, "RuntimeException")
        return self._encoder.encode_pixels(inputs[0].astype(np.uint8))


def main(door: str, words: str) -> int:
    read = settings.read(os.environ)
    log.configure(read.log_level)

    def load(read: Settings) -> Encoder:
        real = startup.load_encoder(read)
        return Encoder(real.folder, real.manifest, real.lane, LossyTower(real, words), real.report)

    return {"handler": handler.run, "serve": server.run}[door](read, load)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
