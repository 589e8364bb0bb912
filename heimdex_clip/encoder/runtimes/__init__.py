"""The runtimes, best first, and the choice among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.runtimes import telemetry
from heimdex_clip.encoder.runtimes.base import Lane
from heimdex_clip.encoder.runtimes.ort_cpu import OrtCpuLane
from heimdex_clip.encoder.runtimes.ort_cuda import OrtCudaLane
from heimdex_clip.encoder.runtimes.tensorrt import TensorRtLane
from heimdex_clip.errors import LaneUnavailable, SettingsError


def lanes(*, engine_cache: Path | None = None, cuda_graphs: bool = False) -> tuple[Lane, ...]:
    """Every lane, best first. `engine_cache` is where RTX keeps what it compiles, None to keep nothing.

    `cuda_graphs` has the GPU's lanes capture the fixed batch sizes: for measuring, until a GPU has told that it pays.
    """
    return (
        TensorRtLane("tensorrt", cuda_graphs=cuda_graphs),
        TensorRtLane("tensorrt-rtx", cache=engine_cache, cuda_graphs=cuda_graphs),
        OrtCudaLane(cuda_graphs=cuda_graphs),
        OrtCpuLane(),
    )


LANES = lanes()
"""Every lane, best first, as it is by default."""

AUTO = "auto"
CHOICES = (AUTO, *(lane.name for lane in LANES))


def candidates(
    runtime: str, manifest: Manifest, *, auto_may_use_cpu: bool, lanes: Sequence[Lane] = LANES
) -> Iterator[tuple[Lane, str | None]]:
    """Those of `lanes` that WORKER_RUNTIME=`runtime` allows, in order, each with why it is passed over or None.

    Raises SettingsError for an unknown name and LaneUnavailable when a lane was named that cannot run:
    a named lane is never replaced by another.
    """
    if runtime not in CHOICES:
        raise SettingsError(f"WORKER_RUNTIME={runtime!r}: must be one of {', '.join(CHOICES)}")
    telemetry.refuse()  # before any lane imports its runtime
    for lane in lanes:
        if runtime not in (AUTO, lane.name):
            continue
        reason = lane.unavailable(manifest)
        if runtime == AUTO and lane.name == "cpu" and not auto_may_use_cpu:
            reason = "auto never takes the CPU under RUNPOD_SERVERLESS=1; say WORKER_RUNTIME=cpu to allow it"
        if runtime == lane.name and reason:
            raise LaneUnavailable(f"WORKER_RUNTIME={runtime}: {reason}")
        yield lane, reason
