"""What is done before `import runpod`, whose import is the longest step of a cold start.

At import the SDK asks `cpuinfo` for the processor's name, for a debugger that production never runs, and
py-cpuinfo spends more than a second on it in subprocesses. A module of the same name that reads
/proc/cpuinfo answers the one call. paramiko (the SDK's ssh command line) is imported when first used.
A test fails when either no longer helps.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import types
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

# The SDK's own start checks dial a public resolver and run GPU programs; the self-test is our check.
_SWITCHED_OFF = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true"}


def prepare_import(environ: MutableMapping[str, str]) -> None:
    """Make the coming `import runpod` cheap and quiet. A variable that is set already is left alone."""
    for name, value in _SWITCHED_OFF.items():
        environ.setdefault(name, value)
    # At DEBUG, the SDK's default, every result goes to the log: vectors, megabytes of them.
    environ.setdefault("RUNPOD_LOG_LEVEL", "WARN")
    sys.modules.setdefault("cpuinfo", _cpuinfo())
    _import_when_used("paramiko")


def survive_lost_output() -> None:
    """Let what is printed go nowhere when standard output is full or closed.

    The SDK prints from the middle of its loop: an OSError there would end the loop, and with it every job.
    """
    sys.stdout = cast(TextIO, _Forgiving(sys.stdout))


class _Forgiving:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def use_uvloop() -> None:
    """Run the SDK's loop on uvloop where it is installed (it comes with the SDK): less time per request and timer."""
    try:
        import uvloop
    except ImportError:
        return
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def end_together(scaler: Any) -> None:
    """Have the SDK's loop that takes jobs end when the one that runs them fails: `scaler` is its class of both.

    Otherwise it goes on over a session that is closed, and where it is cancelled just as its call fails, up to Python
    3.11 `asyncio.wait_for` forgets the cancellation: the process would never end.
    """
    run = scaler.run

    async def run_then_stop(self: Any) -> None:
        try:
            await run(self)
        finally:
            self.kill_worker()

    scaler.run = run_then_stop


def _cpuinfo() -> types.ModuleType:
    module = types.ModuleType("cpuinfo")
    vars(module)["get_cpu_info"] = lambda: {"brand_raw": _processor()}
    return module


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")


def _import_when_used(name: str) -> None:
    """Put a module in place that becomes the real one at its first attribute.

    importlib.util.LazyLoader would be the way, but up to Python 3.11 the second `import` of a lazy module loads it.
    """
    stand_in = types.ModuleType(name)

    def attribute(wanted: str) -> Any:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), wanted)

    vars(stand_in)["__getattr__"] = attribute
    sys.modules.setdefault(name, stand_in)
