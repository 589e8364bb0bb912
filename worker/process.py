"""What a serving process does to itself before it reads a stranger's input."""

from __future__ import annotations

import contextlib
import resource
import sys
import warnings
from pathlib import Path

_CORE_FILTER = Path("/proc/self/coredump_filter")


def prepare() -> None:
    """Leave no core dump, which would hold secrets and images, and print no library's warnings.

    A limit of 0 stops dumps into files, but not those that the kernel pipes to a program: for these the filter leaves
    out all memory. Both hold for child processes too.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not Linux, or /proc is hidden: the limit alone has to do
        _CORE_FILTER.write_text("0")
    # Their texts quote what images hold, no two alike, and Python remembers each of them for ever.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
