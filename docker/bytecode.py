"""Compile the modules that a worker imports, and no others: ``python docker/bytecode.py FOLDER...``.

Without bytecode a start takes about a second longer; with all of it the image has twice the bytecode and the
start gains nothing. It is not checked against the sources (unchecked-hash), whose times a registry may change.
Run it with the folders on PYTHONPATH.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import py_compile
import sys
import types
from pathlib import Path

from worker import sdk

# What a start imports, and what the first job and the HTTP door import later.
_IMPORTED = (
    "runpod",
    "worker.__main__",
    "worker.handler",
    "worker.queue",
    "worker.server",
    "worker.startup",
    "uvicorn.lifespan.off",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "ftfy",
    "numpy",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.MpoImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.WebPImagePlugin",
    "regex",
)
_BY_LANE = ("onnxruntime", "tensorrt_lean_bindings")


def main(folders: list[Path]) -> None:
    """Import, then compile whatever was imported from one of the folders."""
    sdk.prepare_import(os.environ)
    for name in (*_IMPORTED, *(lane for lane in _BY_LANE if importlib.util.find_spec(lane))):
        importlib.import_module(name)
    files = {Path(file).resolve() for module in list(sys.modules.values()) if (file := _source(module))}
    for file in sorted(files):
        if any(file.is_relative_to(folder) for folder in folders):
            py_compile.compile(str(file), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def _source(module: types.ModuleType) -> str | None:
    # Not by attribute: a module that is imported when used (worker/sdk.py) would be imported.
    file = vars(module).get("__file__")
    return file if isinstance(file, str) and file.endswith(".py") else None


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main([Path(folder).resolve() for folder in sys.argv[1:]])
