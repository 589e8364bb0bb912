from __future__ import annotations

import pytest

from bench.ceiling import Rate
from bench.load import Load, Worked
from bench.summary import Cell, conclude, table

SMALL, LARGE = (640, 360), (1920, 1080)
ENCODE, DECODE = Rate(per_s=30, cpu_ms=60), Rate(per_s=60, cpu_ms=30)  # together: 20 images a second


def cell(
    name: str, per_s: float, *, turn: int = 0, size: tuple[int, int] = SMALL, clients: int = 64, p99_ms: float = 100
) -> Cell:
    load = Load(clients, jobs=100, all_jobs=120, jobs_per_s=per_s, p50_ms=50, p99_ms=p99_ms, max_ms=200)
    ceiling = (ENCODE, DECODE) if name == "worker" else (None, None)
    return Cell(name, turn, size, Worked(load, cpu_ms=90), *ceiling)


def run(
    *, large_64: float = 19, stub_16: float = 95, last: float = 19, tail_ms: float = 100, turns: int = 3
) -> list[Cell]:
    cells = []
    for turn in range(turns):
        for size, per_s in ((SMALL, 19.0), (LARGE, large_64)):
            cells += [
                cell("worker", 10, turn=turn, size=size, clients=1),
                cell("worker", per_s, turn=turn, size=size, p99_ms=tail_ms),
                cell("worker", last, turn=turn, size=size, clients=128),
                cell("pytorch", 1, turn=turn, size=size, clients=1),
            ]
        cells += [
            cell("stub worker", stub_16, turn=turn, clients=16),
            cell("bare loop", 100, turn=turn, clients=16),
            cell("stub worker", 96, turn=turn),
            cell("bare loop", 100, turn=turn),
        ]
    return cells


def test_a_run_that_reaches_every_target_passes(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = conclude(run())

    assert verdict.passed
    assert "of the ceiling at 64 clients 0.95 (target >= 0.9)" in verdict.line
    assert "p99 / p50 at 64 clients 2.00 (target <= 3)" in verdict.line
    assert "of the bare SDK loop 0.95 (target >= 0.85)" in verdict.line
    assert "worker / pytorch, 640x360: 19.00 (from 19.00 to 19.00 over 3 pairs)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cells", "missed"),
    [
        (run(large_64=17, last=17), "of the ceiling at 64 clients"),
        (run(tail_ms=151), "p99 / p50 at 64 clients"),
        (run(stub_16=84), "of the bare SDK loop"),
        (run(last=15), "rate kept from one client count to the next"),
    ],
)
def test_the_worst_case_decides(cells: list[Cell], missed: str) -> None:
    verdict = conclude(cells)

    assert not verdict.passed
    assert verdict.line.endswith(f"MISSED: {missed}")


def test_the_table_has_a_row_for_each_worker_size_and_client_count() -> None:
    rows = table(run()).splitlines()

    assert len(rows) == 1 + 12
    (row,) = [row for row in rows if row.startswith("worker") and "1920x1080" in row and " 64 " in row]
    assert row.split()[-1] == "20.0"
