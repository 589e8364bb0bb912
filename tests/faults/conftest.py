"""The table of all faults, printed at the end of the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.scoreboard import HEADING

_ROWS = pytest.StashKey[list[str]]()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes a row of the table."""
    return request.config.stash.setdefault(_ROWS, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if rows := config.stash.get(_ROWS, []):
        terminalreporter.section("faults")
        for row in (HEADING, *rows):
            terminalreporter.write_line(row)
