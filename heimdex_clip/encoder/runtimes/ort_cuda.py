"""The `cuda` lane: ONNX Runtime's CUDA provider on the fp16 graphs, without cuDNN."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from heimdex_clip.encoder import engines
from heimdex_clip.encoder.engines import FIXED_SIZES
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.runtimes import cuda_driver
from heimdex_clip.encoder.runtimes.base import Tower, TowerName
from heimdex_clip.encoder.runtimes.cuda_driver import Driver
from heimdex_clip.encoder.runtimes.ort_graphs import OrtGraphs
from heimdex_clip.errors import LaneUnavailable, ModelError

if TYPE_CHECKING:
    import onnxruntime

_PROVIDER = "CUDAExecutionProvider"


class OrtCudaLane:
    """ONNX Runtime's CUDA execution provider. `driver` loads the CUDA driver.

    `cuda_graphs` has it capture the fixed batch sizes; the towers then take turns, and so does opening one.
    """

    name = "cuda"
    precision: str = engines.PRECISION
    batch_sizes: tuple[int, ...] = FIXED_SIZES
    max_batch = FIXED_SIZES[-1]

    def __init__(self, *, cuda_graphs: bool = False, driver: Callable[[], Driver] = Driver.load) -> None:
        self._driver = driver
        self.cuda_graphs = cuda_graphs
        self._graphs: dict[TowerName, OrtGraphs | str] = {}
        self._alone = threading.Lock() if cuda_graphs else None

    def unavailable(self, manifest: Manifest) -> str | None:
        """Missing package, driver, GPU or graphs, or the CPU build of the package."""
        if importlib.util.find_spec("onnxruntime") is None:
            return "the package onnxruntime-gpu is not installed (extra `gpu`)"
        device = cuda_driver.probe(self._driver)
        if isinstance(device, str):
            return device
        try:
            self.files(manifest, "image")
        except ModelError as error:
            return str(error)
        import onnxruntime

        # Both wheels install the same package; only its providers tell which one this is.
        if _PROVIDER not in onnxruntime.get_available_providers():
            return "onnxruntime is the CPU build here; the CUDA one is onnxruntime-gpu (extra `gpu`)"
        return None

    def files(self, manifest: Manifest, tower: TowerName) -> tuple[str, ...]:
        """The tower's fp16 graph and its weights."""
        return manifest.graph_files(tower, self.precision)

    def open(self, folder: Path, manifest: Manifest, tower: TowerName) -> Tower:
        """Load one graph onto the device. Raises LaneUnavailable."""
        with self._alone or contextlib.nullcontext():
            return self.open_graph(folder / manifest.graph(tower, self.precision), manifest, tower)

    def open_graph(self, graph: Path, manifest: Manifest, tower: TowerName) -> Tower:
        """One ONNX file of a tower in whatever form, as `open` does; for measuring forms. Raises LaneUnavailable."""
        from heimdex_clip.encoder.runtimes.cuda_tower import CudaTower
        from heimdex_clip.encoder.runtimes.device_buffers import DeviceBuffers, text_lengths

        buffers = DeviceBuffers(self._driver())
        _load_libraries()
        session, graphs = self._session(graph, buffers.stream, tower)
        return CudaTower(
            session,
            buffers,
            lengths=text_lengths(manifest.identity.tokenizer.context_length),
            dim=manifest.identity.embedding_dim,
            graphs=graphs,
            alone=self._alone,
        )

    def _session(
        self, graph: Path, stream: int, tower: TowerName
    ) -> tuple[onnxruntime.InferenceSession, OrtGraphs | None]:
        """A session that captures graphs where they are wanted and it can, else one that does not."""
        if self.cuda_graphs:
            try:
                session = open_session(graph, _PROVIDER, provider_options(stream, cuda_graphs=True))
            except LaneUnavailable as error:
                self._graphs[tower] = f"none: {error}"
            else:
                self._graphs[tower] = graphs = OrtGraphs(session)
                return session, graphs
        return open_session(graph, _PROVIDER, provider_options(stream)), None

    def describe(self) -> dict[str, str]:
        """Package version and device, and what has become of the CUDA graphs where they are wanted."""
        import onnxruntime

        graphs = {
            f"cuda_graphs_{tower}": found if isinstance(found, str) else found.describe()
            for tower, found in self._graphs.items()
        }
        return {"onnxruntime": onnxruntime.__version__, **self._driver().device().describe(), **graphs}


def provider_options(stream: int, *, cuda_graphs: bool = False) -> dict[str, str]:
    """The provider's options. The graph has no convolution, so cuDNN (over a gigabyte) is not loaded."""
    captured = {"enable_cuda_graph": "1"} if cuda_graphs else {}
    return {
        "device_id": "0",
        "enable_cudnn": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "user_compute_stream": str(stream),
        **captured,
    }


def open_session(path: Path, provider: str, options: dict[str, str]) -> onnxruntime.InferenceSession:
    """A session that really has the provider first: ONNX Runtime itself falls back to the CPU and only logs it.

    Raises LaneUnavailable.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # its log would go to the terminal; what fails is raised here
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=[(provider, options)])
    # ORT's exceptions share no base of their own below Exception.
    except Exception as error:  # noqa: BLE001
        raise LaneUnavailable(f"ONNX Runtime cannot open {path} ({_first_line(error)})") from None
    if session.get_providers()[0] != provider:
        raise LaneUnavailable(f"ONNX Runtime has no {provider} here: its libraries cannot be loaded")
    return session


def _load_libraries() -> None:
    """CUDA's libraries from their wheels, where the loader does not look by itself."""
    import onnxruntime

    # It prints what it does not find; the session then says the same in one line.
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls(cuda=True, cudnn=False, directory="")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
