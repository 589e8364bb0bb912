"""The end of the process, also where one of its threads never ends."""

from __future__ import annotations

import multiprocessing
import os
import sys
from contextlib import suppress
from typing import NoReturn

EXIT_LOST = 1
"""Nothing more can be encoded in this process: the platform should replace it."""


def leave(code: int) -> NoReturn:
    """End the process with `code`; after EXIT_LOST at once, and its child processes with it.

    The interpreter's own end would wait for the device's thread, which may hang in a call, and run the destructors of
    libraries whose device is gone.
    """
    if code == EXIT_LOST:
        for child in multiprocessing.active_children():
            child.kill()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # a full disk, a closed stream
                stream.flush()
        os._exit(code)
    sys.exit(code)
