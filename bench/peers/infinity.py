"""infinity_emb's engine on PyTorch, by its documented calls: an event loop of its own, into which threads send."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from infinity_emb import AsyncEngineArray, EngineArgs

from bench.peers import protocol

_MODEL = "clip"


class Infinity:
    """`AsyncEngineArray`, which makes batches of what comes at once."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        arguments = EngineArgs(
            model_name_or_path=str(folder / "hf"),
            served_model_name=_MODEL,
            engine="torch",
            device="cpu",
            dtype="float32",
            model_warmup=False,  # otherwise the start would pay for a benchmark of 32 texts and images
        )
        self._engines = AsyncEngineArray.from_args([arguments])
        self._run(self._engines.astart())

    def images(self, files: Sequence[bytes]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`."""
        vectors: Sequence[Sequence[float]]
        vectors, _ = self._run(self._engines.image_embed(model=_MODEL, images=list(files)))
        return vectors

    def texts(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`."""
        vectors: Sequence[Sequence[float]]
        vectors, _ = self._run(self._engines.embed(model=_MODEL, sentences=list(texts)))
        return vectors

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


if __name__ == "__main__":
    protocol.serve(Infinity, sys.argv[1:])
