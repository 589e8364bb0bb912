"""Progress on the terminal: a spinner or bar where there is one, plain lines where there is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

_PLAIN_EVERY = 0.1  # of the whole


class Progress:
    """Says what is going on, on `console` (standard error, unless a test gives another)."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)

    def say(self, line: str, *, style: str = "") -> None:
        """One line that stays."""
        self._console.print(line, style=style, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Around anything that may take over two seconds; its time is said at the end."""
        started = time.perf_counter()
        if self._console.is_terminal:
            with self._console.status(f"{what} ..."):
                yield
        else:
            self.say(f"{what} ...")
            yield
        self.say(f"{what}: {time.perf_counter() - started:.1f} s")

    @contextmanager
    def transfer(self, what: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
        """Around a download; call what it yields with the bytes of each piece."""
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            with Bars(*columns, TimeRemainingColumn(), console=self._console) as bars:
                task = bars.add_task(what, total=total_bytes)
                yield lambda received: bars.advance(task, received)
        else:
            self.say(f"{what} ({_mib(total_bytes)}) ...")
            yield self._plain_advance(what, total_bytes)

    def _plain_advance(self, what: str, total_bytes: int | None) -> Callable[[int], None]:
        received = 0
        said = 0.0

        def advance(count: int) -> None:
            nonlocal received, said
            received += count
            share = received / total_bytes if total_bytes else 0.0
            if share >= said + _PLAIN_EVERY:
                said = share
                self.say(f"{what}: {share:.0%}")

        return advance


def _mib(count: int | None) -> str:
    return "size unknown" if count is None else f"{count / 2**20:.0f} MiB"
