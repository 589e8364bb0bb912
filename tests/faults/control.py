"""A folder through which a test tells a faulty worker what to do, and hears how far it came."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Control:
    """Values are set by the test and read by the worker; marks go the other way, and are counted."""

    folder: Path

    def set(self, name: str, value: str = "") -> None:
        """Empty: the worker is sound in this."""
        new = self.folder / f".{name}"
        new.write_text(value)
        new.replace(self.folder / name)

    def get(self, name: str) -> str:
        try:
            return (self.folder / name).read_text()
        except OSError:  # never set, or no descriptor left to read it with
            return ""

    def mark(self, name: str) -> None:
        with suppress(OSError):
            (self.folder / f"{name}-{time.monotonic_ns()}.mark").touch()

    def marks(self, name: str) -> int:
        return len(list(self.folder.glob(f"{name}-*.mark")))

    def clear(self) -> None:
        """Sound in all, no marks."""
        for path in self.folder.iterdir():
            path.unlink()

    async def reached(self, name: str, times: int = 1) -> None:
        async with asyncio.timeout(20):
            while self.marks(name) < times:  # noqa: ASYNC110  # it comes from another process
                await asyncio.sleep(_POLL_S)

    def hold(self, name: str) -> None:
        """In the worker: stay here for as long as the value is "hold"."""
        while self.get(name) == "hold":
            time.sleep(_POLL_S)
