"""The worker, with faults that a test switches on and off: ``python -m tests.faults.faulty_worker FOLDER``.

FOLDER is a `Control`: its value `tower` is "hold", "hang", "raise", "nan" or "zero"; `decode` is "hold"; `disk` is
"full" (from the next picture on no file can grow); `clock` is how many seconds the wall clock is off. What the test
gives at the start are the variables FAULTS_NOFILE (most open files) and FAULTS_DNS_PORT (a name server on 127.0.0.1).
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tests.faults.control import Control

if TYPE_CHECKING:
    from heimdex_clip.encoder.encoder import Encoder
    from worker.settings import Settings


class FaultyTower:
    """A real tower with a fault before or after it."""

    def __init__(self, encoder: Encoder, control: Control) -> None:
        self._encoder = encoder
        self._control = control

    def __call__(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        fault = self._control.get("tower")
        self._control.mark("encoding")
        self._control.hold("tower")
        if fault == "hang":
            threading.Event().wait()
        if fault == "raise":
            raise RuntimeError("a fault of the runtime")
        vectors = self._encoder.encode_pixels(inputs[0].astype(np.uint8))
        return vectors * np.float32({"nan": np.nan, "zero": 0}.get(fault, 1))


def _shift_clock(control: Control) -> None:
    real = time.time
    vars(time)["time"] = lambda: real() + float(control.get("clock") or 0)


def _limit(kind: int, most: int) -> None:
    resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))


def _replace_parts(control: Control) -> None:
    import aiohttp

    from worker import pipeline, queue
    from worker.download import Downloader
    from worker.policies import DownloadPolicy
    from worker.stages import Decoder

    class HeldDecoder(Decoder):
        async def __call__(self, data: bytes) -> NDArray[np.uint8]:
            _limit(resource.RLIMIT_FSIZE, 0 if control.get("disk") == "full" else resource.RLIM_INFINITY)
            control.mark("decoding")
            await asyncio.to_thread(control.hold, "decode")
            pixels = await super().__call__(data)
            control.mark("decoded")
            return pixels

    def downloader(policy: DownloadPolicy) -> Downloader:
        port = int(os.environ["FAULTS_DNS_PORT"])
        resolver = aiohttp.AsyncResolver(nameservers=["127.0.0.1"], udp_port=port, tcp_port=port, timeout=0.3, tries=2)
        return Downloader(policy, resolver=resolver)

    vars(pipeline)["Decoder"] = HeldDecoder
    if "FAULTS_DNS_PORT" in os.environ:
        vars(queue)["Downloader"] = downloader


def main(folder: str) -> int:
    control = Control(Path(folder))
    _shift_clock(control)  # before anything keeps a reference
    _limit(resource.RLIMIT_NOFILE, int(os.environ.get("FAULTS_NOFILE", "1024")))
    from heimdex_clip.encoder.encoder import Encoder
    from worker import handler, log, settings, startup

    _replace_parts(control)
    read = settings.read(os.environ)
    log.configure(read.log_level)

    def load(read: Settings) -> Encoder:
        real = startup.load_encoder(read)
        return Encoder(real.folder, real.manifest, real.lane, FaultyTower(real, control), real.report)

    return handler.run(read, load)


if __name__ == "__main__":
    code = main(sys.argv[1])
    from worker.leaving import leave

    leave(code)
