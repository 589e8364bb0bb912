"""What becomes of a failure: pure, so every path is walked here."""

from __future__ import annotations

import io

import pytest

from heimdex_clip.bulk import outcomes, progress
from heimdex_clip.bulk.engine import Tally
from heimdex_clip.bulk.outcomes import Group, Task
from heimdex_clip.bulk.rows import Row
from heimdex_clip.errors import ClipError, DownloadFailed, EndpointUnavailable, ImageInvalid, InvalidRequest


def group(size: int) -> Group:
    return Group([Task(Row(number, str(number), "u")) for number in range(size)])


def test_a_rows_own_failure() -> None:
    task = group(1).tasks[0]
    assert outcomes.after_own_failure(task, ImageInvalid("no")) is None
    task = group(1).tasks[0]
    assert [outcomes.after_own_failure(task, DownloadFailed("no")) for _ in range(4)] == [1, 2, 4, None]


@pytest.mark.parametrize(
    ("error", "tries"), [(EndpointUnavailable("lost"), 12), (InvalidRequest("too large"), 9), (ClipError("?"), 9)]
)
def test_a_row_that_fails_every_job_ends_alone_and_its_neighbours_go_on(error: ClipError, tries: int) -> None:
    waiting, sent, fine = [group(256)], 0, set[int]()
    failed: list[int] = []
    while waiting:
        job = waiting.pop()
        if any(task.row.number == 77 for task in job.tasks):
            sent += 1
            instead = outcomes.after_job_failure(job, error, now=100.0)
            assert all(100 <= each.due <= 108 for each in instead)
            failed += [] if instead else [task.row.number for task in job.tasks]
            waiting += instead
        else:
            fine |= {task.row.number for task in job.tasks}
    assert failed == [77]
    assert fine == set(range(256)) - {77}
    assert sent == tries


def test_the_progress_line() -> None:
    tally = Tally(rows=1500, done=500)
    tally.errors["DOWNLOAD_FAILED"] = 3
    line = progress.describe(tally, estimate=10_000, elapsed_s=10)
    assert line == "1,500 of about 10,000 rows, 50.0 rows/s, 3 with errors, 2 min 50 s left"
    assert progress.describe(Tally(), estimate=5, elapsed_s=0) == "0 of about 5 rows, 0.0 rows/s, 0 with errors"


def test_durations() -> None:
    assert [progress.duration(s) for s in (0.4, 59.6, 7500)] == ["0 s", "1 min 00 s", "2 h 05 min"]


def test_the_table_puts_the_most_frequent_first() -> None:
    lines = progress.table({"B": 1, "A": 1, "LONGER": 1200}, rows=5000)
    assert [line.split() for line in lines] == [
        ["code", "rows"],
        ["fine", "3,798"],
        ["LONGER", "1,200"],
        ["A", "1"],
        ["B", "1"],
    ]


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar() -> None:
    terminal = Terminal()
    with progress.Progress(terminal, Tally(rows=30, done=30), lambda: 60) as shown:
        shown.show()
    assert "30 of about 60 rows" in " ".join(terminal.getvalue().split())
    assert "━" in terminal.getvalue()
