"""From the cells of a load run to its table, its figures and its verdict."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from bench import ratios
from bench.ceiling import Rate, combined
from bench.imageserver import Size
from bench.load import Worked
from bench.ratios import Target, Verdict

AT_CLIENTS = 64
OF_CEILING = Target(f"of the ceiling at {AT_CLIENTS} clients", at_least=0.9)
TAIL = Target(f"p99 / p50 at {AT_CLIENTS} clients", at_most=3)
OF_BARE = Target("of the bare SDK loop", at_least=0.85)
NO_COLLAPSE = Target("rate kept from one client count to the next", at_least=0.8)


@dataclass(frozen=True, slots=True)
class Cell:
    """One closed loop of one round; `encode` and `decode` alone, measured around it, where there is a ceiling."""

    name: str
    turn: int
    size: Size
    worked: Worked
    encode: Rate | None = None
    decode: Rate | None = None

    @property
    def clients(self) -> int:
        """How many clients there were."""
        return self.worked.load.clients

    @property
    def ceiling_per_s(self) -> float:
        """Images a second that one encode and one decode each allow; NaN where they were not measured."""
        return combined(self.encode, self.decode) if self.encode and self.decode else float("nan")

    def as_json(self) -> dict[str, object]:
        """Everything measured, for the file of raw samples."""
        return {**asdict(self), "ceiling_per_s": self.ceiling_per_s if self.encode else None}


def table(cells: Sequence[Cell]) -> str:
    """Medians over the rounds, a row for each worker, size and client count."""
    rows = [
        "medians over rounds        size  clients  images/s  p50 ms   p99 ms  CPU ms/img"
        "  raw encode/s (CPU ms)  decode/s (CPU ms)  ceiling/s"
    ]
    for (name, size, clients), group in _groups(cells):
        load = [cell.worked.load for cell in group]
        row = (
            f"{name:<20} {size[0]:>5}x{size[1]:<5} {clients:>6} {_median(x.jobs_per_s for x in load):>9.1f}"
            f" {_median(x.p50_ms for x in load):>7.1f} {_median(x.p99_ms for x in load):>8.1f}"
            f" {_median(cell.worked.cpu_ms for cell in group):>11.1f}"
        )
        encode = [cell.encode for cell in group if cell.encode]
        decode = [cell.decode for cell in group if cell.decode]
        if encode and decode:
            row += (
                f" {_median(x.per_s for x in encode):>12.1f} ({_median(x.cpu_ms for x in encode):.1f})"
                f" {_median(x.per_s for x in decode):>14.1f} ({_median(x.cpu_ms for x in decode):.1f})"
                f" {_median(cell.ceiling_per_s for cell in group):>12.1f}"
            )
        rows.append(row)
    return "\n".join(rows)


def conclude(cells: Sequence[Cell]) -> Verdict:
    """Print each ratio, then hold the worst of each kind against its target."""
    own = [cell for cell in cells if cell.name == "worker"]
    of_ceiling = {
        f"{_name(size)}, {clients} clients": ratios.paired(
            [cell.worked.load.jobs_per_s for cell in group], [cell.ceiling_per_s for cell in group]
        )
        for (_, size, clients), group in _groups(own)
    }
    for what, ratio in of_ceiling.items():
        print(f"worker / ceiling, {what}: {ratio}")
    for size in sorted({cell.size for cell in own}):
        print(f"worker / pytorch, {_name(size)}: {_against_pytorch([c for c in cells if c.size == size])}")
    bare = _by_turn(cells, "bare loop")
    of_bare = {}
    for (_, _, clients), group in _groups([cell for cell in cells if cell.name == "stub worker"]):
        of_bare[clients] = ratios.paired(
            [cell.worked.load.jobs_per_s for cell in group],
            [bare[cell.turn][clients].worked.load.jobs_per_s for cell in group],
        )
        print(f"stub worker / bare loop, {clients} clients: {of_bare[clients]}")
    at = [(size, group) for (_, size, clients), group in _groups(own) if clients == AT_CLIENTS]
    tails = [_median(cell.worked.load.p99_ms / cell.worked.load.p50_ms for cell in group) for _, group in at]
    return ratios.verdict(
        [
            (OF_CEILING, min(of_ceiling[f"{_name(size)}, {AT_CLIENTS} clients"].median for size, _ in at)),
            (TAIL, max(tails)),
            (OF_BARE, min(ratio.median for ratio in of_bare.values())),
            (NO_COLLAPSE, _least_kept([cell for cell in cells if cell.name in ("worker", "stub worker")])),
        ]
    )


def _against_pytorch(cells: Sequence[Cell]) -> ratios.Ratio:
    """Each round's best rate of the worker over that of the PyTorch worker, of rounds that have both."""
    ours, theirs = (_by_turn(cells, name) for name in ("worker", "pytorch"))
    return ratios.paired(*([_best_rate(turns[turn]) for turn in sorted(theirs)] for turns in (ours, theirs)))


def _best_rate(by_clients: Mapping[int, Cell]) -> float:
    return max(cell.worked.load.jobs_per_s for cell in by_clients.values())


def _least_kept(cells: Sequence[Cell]) -> float:
    """The lowest ratio of a median rate to that of the next smaller client count."""
    rates: dict[tuple[str, Size], list[float]] = {}
    for (name, size, _clients), group in _groups(cells):
        rates.setdefault((name, size), []).append(_median(cell.worked.load.jobs_per_s for cell in group))
    return min(after / before for series in rates.values() for before, after in itertools.pairwise(series))


def _by_turn(cells: Sequence[Cell], name: str) -> dict[int, dict[int, Cell]]:
    """Round -> client count -> cell."""
    turns: dict[int, dict[int, Cell]] = {}
    for cell in cells:
        if cell.name == name:
            turns.setdefault(cell.turn, {})[cell.clients] = cell
    return turns


def _groups(cells: Iterable[Cell]) -> list[tuple[tuple[str, Size, int], list[Cell]]]:
    """Cells of the same worker, size and client count, in that order, rounds ascending inside."""

    def key(cell: Cell) -> tuple[str, Size, int]:
        return cell.name, cell.size, cell.clients

    ordered = sorted(cells, key=lambda cell: (key(cell), cell.turn))
    return [(name, list(group)) for name, group in itertools.groupby(ordered, key)]


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def _name(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
