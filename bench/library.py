"""A library behind its driver: a child process that is spoken to in lines (`bench.peers.protocol`)."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench.entrants import CALL_TIMEOUT_S, START_TIMEOUT_S, Measured, Shape, measured
from bench.environments import ROOT
from bench.errors import BenchError
from bench.proctimes import cpu_time

_LINE_BYTES = 1 << 27
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""No peer calls home from a measurement."""


@dataclass(slots=True)
class LibraryEntrant:
    """A driver by its module, the Python that has the library, its model folder and the images to send."""

    name: str
    driver: str
    python: Path
    model: Path
    images: Sequence[Path]
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)
    _log: IO[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """The driver's."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> float:
        """See `Entrant`."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `stop`
        started = time.perf_counter()
        self._process = await asyncio.create_subprocess_exec(
            str(self.python),
            "-m",
            self.driver,
            str(self.model),
            str(self.images[0]),
            cwd=ROOT,
            env={**os.environ, **OFFLINE},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            limit=_LINE_BYTES,
            start_new_session=True,
        )
        await self._answer(START_TIMEOUT_S)
        return time.perf_counter() - started

    async def load(self, shape: Shape) -> Measured | None:
        """See `Entrant`: the clients are threads that call the library, for it has no server."""
        cpu_s = cpu_time(self.pid).total_s
        order = {"batch": shape.batch, "clients": shape.clients, "window_s": shape.window_s}
        answer = await self.ask("load", [str(path) for path in self.images], order)
        # The driver's uncounted first call is in the CPU time, and so in the count of images here.
        used_s = cpu_time(self.pid).total_s - cpu_s
        share = answer["images"] / (answer["images"] + shape.batch)
        return measured(answer["images"], answer["seconds"], answer["ms"], used_s * share)

    async def ask(self, what: str, of: Sequence[str], more: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One order's answer. Raises BenchError when it fails."""
        assert self._process is not None
        assert self._process.stdin is not None
        line = json.dumps({"do": what, "of": list(of), **(more or {})})
        try:
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()
        except OSError:
            raise BenchError(f"{self.name} has ended: {self._last_words()}") from None
        return await self._answer(CALL_TIMEOUT_S)

    async def _answer(self, timeout_s: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout_s)
        except TimeoutError:
            raise BenchError(f"{self.name} gave no answer within {timeout_s:g} s") from None
        if not line:
            raise BenchError(f"{self.name} ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise BenchError(f"{self.name}: {answer['failed']}")
        return answer

    def _last_words(self) -> str:
        assert self._log is not None
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:200] if lines else "it said nothing"

    async def stop(self) -> None:
        """See `Entrant`."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            # Without this, the transport's own end is told of at the interpreter's exit.
            if self._process.stdin is not None:
                self._process.stdin.close()
        if self._log is not None:
            self._log.close()
        self._process = self._log = None
