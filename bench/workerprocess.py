"""A worker as a subprocess: its output kept in a file, stopped by SIGTERM, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A running worker. Its `process` leads a group of its own, as the SDK starts a second one for pings."""

    process: asyncio.subprocess.Process
    log: IO[bytes]

    def output(self) -> str:
        """Everything it has written to standard output and error so far."""
        return os.pread(self.log.fileno(), os.fstat(self.log.fileno()).st_size, 0).decode(errors="replace")

    async def wait_for(self, text: str, *, timeout_s: float) -> None:
        """Return once its output holds `text`.

        Raises RuntimeError with the output when it ends before, TimeoutError when `timeout_s` pass.
        """
        async with asyncio.timeout(timeout_s):
            while text not in self.output():
                if self.process.returncode is not None and text not in self.output():
                    code = self.process.returncode
                    raise RuntimeError(f"the worker ended with code {code} before {text!r}:\n{self.output()}")
                await asyncio.sleep(_POLL_S)

    async def stop(self, *, timeout_s: float = 30.0) -> int:
        """SIGTERM, then SIGKILL after `timeout_s`; returns the exit code (-9 when it had to be killed)."""
        if self.process.returncode is None:
            self.process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), timeout_s)
        # Also when it ended by itself: after a crash the SDK's ping process lives on.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return await self.process.wait()


@asynccontextmanager
async def start_worker(
    argv: Sequence[str], env: Mapping[str, str], *, cwd: Path | str, stop_timeout_s: float = 30.0
) -> AsyncIterator[WorkerProcess]:
    """Run `argv` in `cwd` with `env` added to this process's environment, and stop it at the exit."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        worker = WorkerProcess(process, log)
        try:
            yield worker
        finally:
            await worker.stop(timeout_s=stop_timeout_s)
