"""HEALTHCHECK of both modes: the HTTP door's own answer, or for the queue that the worker runs at all.

A queue worker has no door to ask: it tests itself before its first job and ends when it cannot serve.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from pathlib import Path

_TIMEOUT_S = 3


def healthy(argv: list[str], port: str) -> bool:
    """Whether the container's main process, of these arguments, serves or is still loading."""
    if "serve" not in argv:
        return "worker" in argv
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=_TIMEOUT_S):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main_process = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    sys.exit(not healthy(main_process, os.environ.get("PORT") or "8000"))
