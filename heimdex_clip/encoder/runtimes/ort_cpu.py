"""The `cpu` lane: ONNX Runtime, fp32."""

from __future__ import annotations

import importlib.util
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from heimdex_clip.encoder.cpus import available_cpus
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.runtimes import telemetry
from heimdex_clip.encoder.runtimes.base import Tower, TowerName
from heimdex_clip.errors import InferenceFailed, LaneUnavailable, ModelError

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

_PROVIDER = "CPUExecutionProvider"


class OrtCpuLane:
    """ONNX Runtime's CPU execution provider on the fp32 graphs."""

    name = "cpu"
    precision = "fp32"
    batch_sizes: tuple[int, ...] = ()
    # Beyond it the rate no longer grows (bench), and the first callers wait longer for their answers.
    max_batch = 8

    def unavailable(self, manifest: Manifest) -> str | None:
        """Missing package or graphs."""
        if importlib.util.find_spec("onnxruntime") is None:
            return "the package onnxruntime is not installed (extra `cpu`)"
        try:
            self.files(manifest, "image")
        except ModelError as error:
            return str(error)
        return None

    def files(self, manifest: Manifest, tower: TowerName) -> tuple[str, ...]:
        """The tower's fp32 graph and its weights."""
        return manifest.graph_files(tower, self.precision)

    def open(self, folder: Path, manifest: Manifest, tower: TowerName) -> Tower:
        """See `open_graph`."""
        return open_graph(folder / manifest.graph(tower, self.precision))

    def describe(self) -> dict[str, str]:
        """Package version, processor, threads."""
        import onnxruntime

        return {
            "onnxruntime": onnxruntime.__version__,
            "device": platform.processor() or platform.machine(),
            "threads": str(available_cpus()),
        }


def open_graph(path: Path) -> Tower:
    """One ONNX file as a tower, on as many threads as the cgroup grants. Raises LaneUnavailable.

    The lane itself opens fp32 graphs only; the export's gates also run fp16 ones, slowly.
    """
    telemetry.refuse()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cpus()
    # Spinning gained nothing per batch (bench), and takes the cores from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[_PROVIDER])
    # ORT's exceptions share no base of their own below Exception.
    except Exception as error:  # noqa: BLE001
        raise LaneUnavailable(f"ONNX Runtime cannot open {path}: {_first_line(error)}") from None
    return _OrtTower(session)


class _OrtTower:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._inputs = [node.name for node in session.get_inputs()]

    def __call__(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        try:
            vectors: NDArray[np.float32]
            (vectors,) = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        # As above: no common base.
        except Exception as error:
            raise InferenceFailed(f"The encoder failed ({type(error).__name__})") from error
        return vectors


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
