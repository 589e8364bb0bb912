"""The one thing that pyproject.toml cannot say in full: the optional C extension, on CPython's stable ABI."""

from __future__ import annotations

from pathlib import Path

from setuptools import Extension, setup

STABLE_ABI = "0x030B0000"  # 3.11, the first whose limited API has buffers
SOURCES = Path("heimdex_clip/encoder/csrc")
# Fused multiply-add would change the last bit of coefficients: see docs/adr/0005-resampling.md.
FLAGS = ["-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"]

setup(
    ext_modules=[
        Extension(
            "heimdex_clip.encoder._resample",
            sorted(path.as_posix() for path in SOURCES.glob("*.c")),
            depends=[path.as_posix() for path in SOURCES.rglob("*.h")],
            define_macros=[("Py_LIMITED_API", STABLE_ABI)],
            extra_compile_args=FLAGS,
            py_limited_api=True,
            optional=True,  # without a compiler the encoder resizes with Pillow
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
