"""What every measurement writes: the machine it ran on, and its raw samples."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from bench.ratios import Verdict
from heimdex_clip.encoder.cpus import available_cpus

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("runpod", "onnxruntime", "torch", "open_clip_torch", "pillow", "numpy", "aiohttp")


def machine() -> dict[str, object]:
    """Processor, usable CPUs, memory in GiB, kernel and Python."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _processor(),
        "cpus": available_cpus(),
        "memory_gib": round(memory_bytes / (1 << 30)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def machine_line() -> str:
    """The machine on one line, and whether it was idle before."""
    facts = machine()
    return (
        f"machine: {facts['cpu']}, {facts['cpus']} CPUs, {facts['memory_gib']} GiB, Python {facts['python']},"
        f" load average {os.getloadavg()[0]:.1f}"
    )


def target(name: str, *, quick: bool) -> str:
    """The name under which a measurement is saved: a rough one never replaces a full one."""
    return f"{name}-quick" if quick else name


def save(target: str, *, settings: Mapping[str, object], samples: object, verdict: Verdict) -> Path:
    """Write ``bench/results/<target>.json`` with everything needed to judge the figures again."""
    document = {
        "target": target,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {name: version(name) for name in _PACKAGES},
        "settings": settings,
        "verdict": verdict.line,
        "passed": verdict.passed,
        "samples": samples,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{target}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
