"""The worker with its encoder and decoder replaced by a sleep of 5 ms, everything else as it serves.

``python -m bench.stub_worker`` takes the worker's own variables. The sleep stands for one run of the
device, whatever the batch; decoding gives a ready tensor at once. With ``--decode fastest`` or
``--decode pillow`` only the encoder is replaced, and pictures are read by that route.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.stub_bare import SLEEP_S
from heimdex_clip.encoder import manifest, routes
from heimdex_clip.encoder.encoder import Encoder, StartReport
from heimdex_clip.encoder.engines import FIXED_SIZES
from heimdex_clip.encoder.runtimes.ort_cpu import OrtCpuLane
from heimdex_clip.errors import ClipError
from worker import log, policies, sdk, settings
from worker.authentication import Authenticator
from worker.download import Downloader
from worker.service import EmbeddingService, Reply
from worker.settings import Settings
from worker.stages import Decoder


class _SleepLane(OrtCpuLane):
    """What takes as long whatever the batch is no CPU: it takes the batches of a GPU lane."""

    max_batch = FIXED_SIZES[-1]


class _SleepTower:
    """A tower that takes 5 ms a batch and gives every row the same vector, float32 ``[B, D]``."""

    def __init__(self, dim: int) -> None:
        self._vector = np.random.default_rng(0).normal(size=dim).astype(np.float32)

    def __call__(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        time.sleep(SLEEP_S)
        return np.tile(self._vector, (len(inputs[0]), 1))


class _ReadyDecoder(Decoder):
    """A decoder that has the tensor already."""

    def __init__(self, *, size: int) -> None:
        super().__init__(size=size, max_pixels=1, max_bytes=1)
        self._pixels = np.zeros((size, size, 3), np.uint8)

    async def __call__(self, data: bytes) -> NDArray[np.uint8]:
        return self._pixels


_ROUTES = {"fastest": None, "pillow": routes.PILLOW}
READY = "ready"


def _decoder(decode: str, *, size: int, read: Settings) -> Decoder:
    if decode == READY:
        return _ReadyDecoder(size=size)
    return Decoder(
        size=size,
        max_pixels=read.max_image_pixels,
        max_bytes=read.max_inflight_bytes // 2,
        route=_ROUTES[decode],
    )


class _StubService(EmbeddingService):
    def __init__(self, encoder: Encoder, read: Settings, decode: str) -> None:
        downloader = Downloader(policies.download_policy(read))
        super().__init__(encoder, read, Authenticator(policies.auth_policy(read)), downloader)
        self.pipeline.decode = _decoder(decode, size=encoder.image_size, read=read)


class _Worker:
    """Makes its service inside the SDK's loop, as the worker does."""

    def __init__(self, read: Settings, decode: str) -> None:
        self._decode = decode
        model = manifest.load(read.folder)
        tower = _SleepTower(model.identity.embedding_dim)
        self._encoder = Encoder(read.folder, model, _SleepLane(), tower, StartReport())
        self._settings = read
        self._service: EmbeddingService | None = None

    def concurrency(self, _current: int) -> int:
        return self._settings.concurrency

    async def handle(self, job: Mapping[str, Any]) -> Reply:
        if self._service is None:
            self._service = _StubService(self._encoder, self._settings, self._decode)
        return await self._service.handle(job.get("input"), job_id=job.get("id"))


def main(environ: Mapping[str, str], decode: str) -> None:
    """Serve the SDK's loop until SIGTERM. Raises SetupError."""
    read = settings.read(environ)
    log.configure(read.log_level)
    sdk.prepare_import(os.environ)
    import runpod

    worker = _Worker(read, decode)
    sdk.use_uvloop()
    runpod.serverless.start({"handler": worker.handle, "concurrency_modifier": worker.concurrency})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="stub_worker")
    parser.add_argument("--decode", choices=[READY, *_ROUTES], default=READY)
    try:
        # The SDK reads arguments of its own from the same command line.
        main(os.environ, parser.parse_known_args()[0].decode)
    except ClipError as error:
        sys.exit(f"stub_worker: {error}")
