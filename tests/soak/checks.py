"""What must hold after any soak, and what only a long one can show."""

from __future__ import annotations

from tests.soak.soak import Soak

MAX_SLOPE_MIB = 1.0
"""Of the memory for each 10,000 jobs, in the second half."""
_MORE_FILES = 24  # connections come and go; a leak passes this within minutes
_MORE_THREADS = 2  # pools fill up as they are needed


def check_structure(found: Soak) -> None:
    """No job lost, none ended otherwise than it should, no traceback, no thread or file more."""
    assert found.lost == 0
    assert not found.wrong, found.wrong
    assert found.tracebacks == 0
    assert found.median(4, "threads") <= found.median(2, "threads") + _MORE_THREADS
    assert found.median(4, "files") <= found.median(2, "files") + _MORE_FILES


def check_long(found: Soak) -> None:
    """Flat memory, and no slower at the end than it was."""
    check_structure(found)
    assert found.rss_slope_mib() < MAX_SLOPE_MIB
    assert found.median(4, "ms") <= 1.5 * found.median(2, "ms") + 10
