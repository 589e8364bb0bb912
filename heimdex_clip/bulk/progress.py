"""How far a bulk run is: a bar on a terminal, plain lines elsewhere, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any, Self

from heimdex_clip.bulk.engine import Tally

_LINE_EVERY_S = 10.0


def describe(tally: Tally, *, estimate: int, elapsed_s: float) -> str:
    """One line: rows of about how many, this process's rate, errors, time left."""
    rate = tally.done / elapsed_s if elapsed_s > 0 else 0.0
    text = f"{tally.rows:,} of about {max(estimate, tally.rows):,} rows, {rate:,.1f} rows/s"
    text += f", {sum(tally.errors.values()):,} with errors"
    if rate > 0:
        text += f", {duration(max(estimate - tally.rows, 0) / rate)} left"
    return text


def duration(seconds: float) -> str:
    """Such as ``3 h 05 min``, ``4 min 10 s`` or ``12 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def table(errors: Mapping[str, int], *, rows: int) -> list[str]:
    """Rows by error code, the most frequent first; those that are fine come before them."""
    counts = [("fine", rows - sum(errors.values()))]
    counts += sorted(errors.items(), key=lambda entry: (-entry[1], entry[0]))
    width = max(len(code) for code, _ in counts)
    return [f"{'code':<{width}}  {'rows':>12}", *(f"{code:<{width}}  {count:>12,}" for code, count in counts)]


class Progress:
    """Call `show` as often as you like, inside ``with``. `estimate` is how many rows the input seems to have."""

    def __init__(self, stream: IO[str], tally: Tally, estimate: Callable[[], int]) -> None:
        self._stream = stream
        self._tally = tally
        self._estimate = estimate
        self._started_at = self._shown_at = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            bar = Progress(BarColumn(), TextColumn("{task.description}"), console=Console(file=self._stream))
            bar.start()
            self._bar = bar, bar.add_task("", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.show(last=True)
        if self._bar is not None:
            self._bar[0].stop()

    def show(self, *, last: bool = False) -> None:
        """Draw the bar anew; print a line if it is time for one, or the `last`."""
        now = time.monotonic()
        estimate = self._estimate()
        text = describe(self._tally, estimate=estimate, elapsed_s=now - self._started_at)
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, description=text, completed=self._tally.rows, total=max(estimate, self._tally.rows, 1))
        elif last or now - self._shown_at >= _LINE_EVERY_S:
            self._shown_at = now
            print(text, file=self._stream, flush=True)  # this is the command's own output
