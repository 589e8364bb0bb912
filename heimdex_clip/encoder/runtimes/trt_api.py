"""TensorRT's Python packages: which one a flavour needs, its logger, and plans brought to life.

TensorRT, its lean runtime and TensorRT-RTX have the same API under three names.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from heimdex_clip.errors import LaneUnavailable

# The packages of the bindings come first: an image has them without those that only rename them.
_RUNTIMES = {
    "tensorrt": ("tensorrt_lean_bindings", "tensorrt_lean", "tensorrt"),
    "tensorrt-rtx": ("tensorrt_rtx_bindings", "tensorrt_rtx"),
}
_BUILDERS = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_HOW_TO_GET = {
    "tensorrt": "pip install 'tensorrt==10.16.*' on a machine with the GPU to build for (3.7 GB)",
    "tensorrt-rtx": "pip install 'tensorrt-rtx==1.7.1.116' (Linux or Windows, x86_64)",
}
_SHOWN_ERRORS = 2


def missing_runtime(flavour: str) -> str | None:
    """Why a flavour's runtime cannot be imported, None when it can be tried. Imports nothing."""
    names = _RUNTIMES[flavour]
    if any(importlib.util.find_spec(name) is not None for name in names):
        return None
    return f"the package {names[0]} is not installed"


def runtime(flavour: str) -> Any:
    """The module that runs a flavour's plans. Raises LaneUnavailable."""
    for name in _RUNTIMES[flavour]:
        if importlib.util.find_spec(name) is not None:
            return _import(name)
    raise LaneUnavailable(missing_runtime(flavour) or "no runtime")


def builder(flavour: str) -> Any:
    """The module that builds a flavour's plans. Raises LaneUnavailable, saying how to get it."""
    name = _BUILDERS[flavour]
    if importlib.util.find_spec(name) is None:
        raise LaneUnavailable(f"the builder of {flavour} engines is not installed: {_HOW_TO_GET[flavour]}")
    return _import(name)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    # Its libraries are loaded at import: what is missing comes as whatever the loader raises.
    except Exception as error:  # noqa: BLE001
        raise LaneUnavailable(f"the package {name} cannot be imported ({_line(str(error))})") from None


def logger(trt: Any) -> Any:
    """A logger that keeps errors for `reason` instead of writing them to the terminal."""

    class Log(trt.ILogger):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(message)

    return Log()


def reason(log: Any) -> str:
    """What TensorRT said last when it failed, on one line."""
    said = [_line(message) for message in log.errors[-_SHOWN_ERRORS:]]
    return "; ".join(said) or "TensorRT gave no reason"


def deserialise(trt: Any, plan: bytes, what: str) -> tuple[Any, Any]:
    """A plan whose hash has held -> its runtime and engine; the runtime must outlive the engine.

    TensorRT answers None for a plan of another version or device: that is a failure here. Raises LaneUnavailable.
    """
    log = logger(trt)
    try:
        made = trt.Runtime(log)
        if log.errors:
            # Where the driver is too old the lean runtime 10.16 logs it, and hands out an object that crashes the
            # process when it is used or destroyed: it is kept for ever instead.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
            raise RuntimeError(reason(log))
        # Version-compatible plans may carry host code, which TensorRT runs only when told to.
        made.engine_host_code_allowed = True
        engine = made.deserialize_cuda_engine(plan)
    # Not only None: the bindings also raise, of no common base.
    except Exception as error:  # noqa: BLE001
        raise LaneUnavailable(f"TensorRT {trt.__version__} cannot load {what} ({_line(str(error))})") from None
    if engine is None:
        raise LaneUnavailable(f"TensorRT {trt.__version__} cannot load {what} ({reason(log)})")
    return (made, log), engine


def _line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "no reason given")


def cache_file(folder: Path, plan_sha256: str, trt: Any, device_name: str) -> Path:
    """Where RTX keeps what it compiled of one plan for one kind of device."""
    device = "".join(letter if letter.isalnum() else "-" for letter in device_name)
    return folder / f"rtx-{trt.__version__}-{device}-{plan_sha256[:16]}.cache"
