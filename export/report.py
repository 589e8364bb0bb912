"""What a verification found, as data, and as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from heimdex_clip.encoder.gates import Gate, Parity
from heimdex_clip.encoder.manifest import Manifest


@dataclass(frozen=True, slots=True)
class FileCheck:
    """One file of the folder; `problem` is empty when its hash holds."""

    name: str
    bytes: int
    sha256: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class LaneNote:
    """One lane of this machine: what it runs on, or in `passed_over` why it did not run."""

    name: str
    precision: str
    details: Mapping[str, str] = field(default_factory=dict)
    passed_over: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One input on one lane.

    `same_input`: whether pixels or token ids equal the reference's byte for byte, None where they were given.
    `parity` compares the vectors, None where there are none; then `problem` says why.
    """

    group: str
    name: str
    lane: str
    gate: Gate
    same_input: bool | None = None
    parity: Parity | None = None
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Whether equal input was required and given, and the gate passes."""
        return not self.fault

    @property
    def fault(self) -> str:
        """What does not hold, empty when all does."""
        if self.problem or self.parity is None:
            return self.problem or "not measured"
        if self.same_input is False:
            return "another input than the reference's"
        return "" if self.gate.holds(self.parity) else f"fails the gate {self.gate.name}"


@dataclass(frozen=True, slots=True)
class Report:
    """One verification. `created` is the time in words; `reference` says whether PyTorch ran afresh."""

    folder: Path
    model: Manifest
    manifest_sha256: str
    created: str
    reference: bool
    files: tuple[FileCheck, ...]
    lanes: tuple[LaneNote, ...]
    rows: tuple[Row, ...]

    @property
    def failures(self) -> int:
        """How many files and rows do not hold."""
        return sum(bool(file.problem) for file in self.files) + sum(not row.holds for row in self.rows)

    @property
    def passed(self) -> bool:
        """Whether everything holds; a verification that compared no vector proved nothing."""
        return bool(self.rows) and not self.failures

    @property
    def groups(self) -> dict[str, list[Row]]:
        """The rows by group, in their order."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.group, []).append(row)
        return found

    @property
    def worst(self) -> Parity | None:
        """Lowest cosine and highest difference over all rows, None without any. A NaN stays one."""
        measured = [row.parity for row in self.rows if row.parity is not None]
        if not measured:
            return None
        return Parity(
            _worst(min, [parity.min_cosine for parity in measured]),
            _worst(max, [parity.max_abs for parity in measured]),
            sum(parity.vectors for parity in measured),
        )

    @property
    def summary(self) -> str:
        """One line: verdict, counts and the worst figures."""
        bad_files = sum(bool(file.problem) for file in self.files)
        parts = [f"{len(self.files)} files, {bad_files} altered" if bad_files else f"{len(self.files)} files hold"]
        if not self.rows:
            parts.append("no vector compared")
        elif bad := sum(not row.holds for row in self.rows):
            parts.append(f"{bad} of {len(self.rows)} comparisons failed")
        else:
            parts.append(f"{len(self.rows)} comparisons hold")
        if self.worst is not None:
            parts.append(str(self.worst))
        return (
            f"{'PASSED' if self.passed else 'FAILED'}: {self.model.model} {self.model.pretrained}: {'; '.join(parts)}"
        )


def print_report(report: Report, console: Console) -> None:
    """Files that fail, lanes passed over, every comparison, and the summary as the last line."""
    for file in report.files:
        if file.problem:
            console.print(Text(f"FAILED  {file.problem}", style="bold red"), soft_wrap=True)
    for lane in report.lanes:
        if lane.passed_over:
            console.print(Text(f"lane {lane.name} did not run: {lane.passed_over}", style="yellow"), soft_wrap=True)
    if report.rows:
        console.print(_table(report))
    console.print(Text(report.summary, style="bold green" if report.passed else "bold red"), soft_wrap=True)


def _table(report: Report) -> Table:
    table = Table(title=f"{report.folder} against PyTorch fp32")
    table.add_column("input", max_width=44, no_wrap=True)
    table.add_column("lane", no_wrap=True)
    table.add_column("bytes equal", justify="center")
    for name in ("cosine", "max abs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for group, rows in report.groups.items():
        table.add_section()
        table.add_row(Text(group, style="bold"))
        for row in rows:
            table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> Iterator[Text]:
    yield Text(f"  {printable(row.name)}")
    yield Text(row.lane)
    yield Text({True: "yes", False: "NO", None: "-"}[row.same_input], style="red" if row.same_input is False else "")
    yield Text("-" if row.parity is None else f"{row.parity.min_cosine:.12f}")
    yield Text("-" if row.parity is None else f"{row.parity.max_abs:.1e}")
    yield Text("holds", style="green") if row.holds else Text(row.fault, style="bold red")


def printable(text: str, max_chars: int = 60) -> str:
    """A text on one line, without control characters, cut to `max_chars`."""
    line = "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
    return line if len(line) <= max_chars else f"{line[: max_chars - 1]}…"


def _worst(choose: Callable[[list[float]], float], values: list[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else choose(values)
