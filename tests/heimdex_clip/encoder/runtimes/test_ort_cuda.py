"""The CUDA lane up to the device: its tower's copies and bindings are real, on the CPU provider and host memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heimdex_clip.encoder import golden, manifest
from heimdex_clip.encoder.gates import EXPORT_FP32, measure
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.recovery import DeviceLost
from heimdex_clip.encoder.runtimes import ort_cuda
from heimdex_clip.encoder.runtimes.cuda_tower import CudaTower
from heimdex_clip.encoder.runtimes.device_buffers import DeviceBuffers
from heimdex_clip.encoder.runtimes.ort_cuda import OrtCudaLane, open_session, provider_options
from heimdex_clip.encoder.runtimes.ort_graphs import OrtGraphs
from heimdex_clip.encoder.tokenizer import Tokenizer
from heimdex_clip.errors import InferenceFailed, LaneUnavailable
from tests import tiny_model
from tests.heimdex_clip.encoder.runtimes.gpu_double import HostCuda

CPU = "CPUExecutionProvider"


def tower(folder: Path, graph: str, library: HostCuda) -> CudaTower:
    model = manifest.load(folder)
    session = open_session(folder / graph, CPU, {})
    return CudaTower(
        session,
        DeviceBuffers(library.driver()),
        lengths=(tiny_model.CONTEXT,),
        dim=model.identity.embedding_dim,
        device_type="cpu",
    )


class Session:
    """ONNX Runtime's own session on the CPU, which notes the ids that it is run with; `refuses` fails those above 0."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path, CPU, {})
        self.refuses = False
        self.runs: list[tuple[str, int]] = []
        self.released: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        graph = options.get_run_config_entry("gpu_graph_id")
        self.runs.append((graph, id(binding)))
        if self.refuses and graph != "-1":
            raise RuntimeError("CUDA error 901: operation failed due to a previous error during capture")
        self._session.run_with_iobinding(binding, options)

    def release_captured_graph(self, graph: int) -> None:
        self.released.append(graph)
        self._session.release_captured_graph(graph)

    @property
    def ids(self) -> list[str]:
        return [graph for graph, _ in self.runs]


def captured(folder: Path, graph: str, library: HostCuda) -> tuple[CudaTower, Session, OrtGraphs]:
    """A tower with CUDA graphs; the CPU provider takes the ids and runs as ever."""
    session = Session(folder / graph)
    graphs = OrtGraphs(session)
    buffers = DeviceBuffers(library.driver())
    dim = manifest.load(folder).identity.embedding_dim
    lengths = (8, 16, tiny_model.CONTEXT)
    return (
        CudaTower(session, buffers, lengths=lengths, dim=dim, device_type="cpu", graphs=graphs, alone=threading.Lock()),
        session,
        graphs,
    )


def with_fp16(model: Manifest) -> Manifest:
    files = {
        name: replace(entry, precision="fp16") if entry.precision else entry for name, entry in model.files.items()
    }
    return replace(model, files=files)


@pytest.mark.parametrize("rows", [1, 3, 2])
def test_pictures_pass_through_the_bound_buffers(tiny: Path, rows: int) -> None:
    stored, run = golden.load(tiny), tower(tiny, tiny_model.IMAGE, HostCuda())
    for _ in range(2):
        vectors = run(stored.pixels[:rows])
        assert EXPORT_FP32.min_cosine <= measure(vectors, stored.image_embeddings[:rows]).min_cosine
    assert run.buffers.sent_bytes == 2 * stored.pixels[:rows].nbytes  # uint8 pixels and nothing else


def test_texts_are_padded_to_a_fixed_length_without_a_difference(tiny: Path) -> None:
    stored, run = golden.load(tiny), tower(tiny, tiny_model.TEXT, HostCuda())
    batch = Tokenizer.load(tiny, manifest.load(tiny).identity.tokenizer)(stored.texts[:1])
    assert batch.ids.shape[1] < tiny_model.CONTEXT
    assert measure(run(batch.ids, batch.eot), stored.text_embeddings[:1]).min_cosine > 1 - 1e-6
    assert run.buffers.sent_bytes == (tiny_model.CONTEXT + 1) * 8


def test_a_failure_of_the_graph_is_a_failed_inference(tiny: Path) -> None:
    run = tower(tiny, tiny_model.IMAGE, HostCuda())
    with pytest.raises(InferenceFailed, match=r"The encoder failed \(") as raised:
        run(np.zeros((1, 3, 3, 3), np.uint8))
    assert type(raised.value) is InferenceFailed


@pytest.mark.parametrize("code", [700, 719])
def test_after_a_failure_the_driver_is_asked_whether_the_device_is_lost(tiny: Path, code: int) -> None:
    library = HostCuda()
    run = tower(tiny, tiny_model.IMAGE, library)
    library.fail["cuStreamSynchronize"] = code
    with pytest.raises(DeviceLost, match=str(code)):
        run(np.zeros((1, 3, 3, 3), np.uint8))


def test_with_cuda_graphs_a_fixed_size_keeps_its_id_and_its_binding(tiny: Path) -> None:
    stored = golden.load(tiny)
    run, session, graphs = captured(tiny, tiny_model.IMAGE, HostCuda())
    for rows in (2, 1, 2, 1, 3):
        vectors = run(stored.pixels[:rows])
        assert EXPORT_FP32.min_cosine <= measure(vectors, stored.image_embeddings[:rows]).min_cosine
    assert session.ids == ["1", "2", "1", "2", "-1"]  # 3 is no fixed size
    assert session.runs[0] == session.runs[2]
    assert session.runs[1] == session.runs[3]
    assert graphs.describe() == "2 captured"
    assert run.buffers.sent_bytes == 9 * stored.pixels[0].nbytes


def test_a_buffer_that_grows_releases_its_graphs_and_no_id_comes_twice(tiny: Path) -> None:
    run, session, _ = captured(tiny, tiny_model.TEXT, HostCuda())
    plain = tower(tiny, tiny_model.TEXT, HostCuda())
    short, long = np.ones((1, 8), np.int64), np.ones((2, 16), np.int64)
    for ids in (short, short, long, short, long):
        eot = np.full(len(ids), 3, np.int64)
        np.testing.assert_allclose(run(ids, eot), plain(ids, eot), rtol=1e-5)
    assert session.ids == ["1", "1", "2", "3", "2"]
    assert session.released == [1]


def test_a_shape_that_cannot_be_captured_is_served_without(tiny: Path) -> None:
    stored = golden.load(tiny)
    run, session, graphs = captured(tiny, tiny_model.IMAGE, HostCuda())
    session.refuses = True
    for _ in range(2):
        assert run(stored.pixels[:1]).shape == (1, 5)
    session.refuses = False
    assert run(stored.pixels[:2]).shape == (2, 5)
    assert session.ids == ["1", "-1", "-1", "2"]
    assert session.released == [1]
    assert graphs.describe() == "1 captured; not 1x8x8x3: The encoder failed (CUDA error 901 in RuntimeError)"


def test_a_lost_device_is_not_taken_for_a_shape_without_a_graph(tiny: Path) -> None:
    library = HostCuda()
    run, session, graphs = captured(tiny, tiny_model.IMAGE, library)
    pixels = golden.load(tiny).pixels[:1]
    session.refuses = True
    library.fail["cuStreamSynchronize"] = 719
    with pytest.raises(DeviceLost, match="719"):
        run(pixels)
    assert graphs.refused == {}
    assert session.ids == ["1"]


def test_a_session_that_cannot_capture_is_opened_without(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph with a node off the device, say: then the lane serves plainly, and says so."""
    asked: list[dict[str, str]] = []

    def opened(path: Path, provider: str, options: dict[str, str]) -> Any:
        asked.append(options)
        if "enable_cuda_graph" in options:
            raise LaneUnavailable("not all nodes are on the device")
        return open_session(path, CPU, {})

    monkeypatch.setattr(ort_cuda, "open_session", opened)
    lane = OrtCudaLane(cuda_graphs=True, driver=HostCuda().driver)
    lane.open(tiny, with_fp16(manifest.load(tiny)), "image")
    assert [options.get("enable_cuda_graph") for options in asked] == ["1", None]
    assert lane.describe()["cuda_graphs_image"] == "none: not all nodes are on the device"
    lane = OrtCudaLane(driver=HostCuda().driver)
    lane.open(tiny, with_fp16(manifest.load(tiny)), "image")
    assert asked[2:] == [provider_options(7)]
    assert "cuda_graphs_image" not in lane.describe()


def test_a_missing_gpu_is_the_reason(tiny: Path) -> None:
    lane = OrtCudaLane(driver=HostCuda(fail={"cuInit": 100}).driver)
    assert lane.unavailable(with_fp16(manifest.load(tiny))) == "no GPU is visible to this process"


def test_missing_fp16_graphs_are_the_reason(tiny: Path) -> None:
    lane = OrtCudaLane(driver=HostCuda().driver)
    assert "no fp16 graph of the image tower" in (lane.unavailable(manifest.load(tiny)) or "")


def test_the_cpu_build_of_the_package_is_told_from_the_gpus(tiny: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is installed here")
    lane = OrtCudaLane(driver=HostCuda().driver)
    assert "is the CPU build here" in (lane.unavailable(with_fp16(manifest.load(tiny))) or "")


def test_a_provider_that_silently_falls_away_is_refused(tiny: Path) -> None:
    """What ONNX Runtime does where CUDA's libraries are missing: a session on the CPU, and a line in its log."""
    with pytest.raises(LaneUnavailable, match="CUDAExecutionProvider"), pytest.warns(UserWarning, match="not in avail"):
        open_session(tiny / tiny_model.IMAGE, "CUDAExecutionProvider", provider_options(7))


def test_the_lane_reads_the_fp16_graphs_and_runs_without_cudnn(tiny: Path) -> None:
    lane = OrtCudaLane()
    assert lane.files(with_fp16(manifest.load(tiny)), "text") == (tiny_model.TEXT,)
    assert provider_options(7) == {
        "device_id": "0",
        "enable_cudnn": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "user_compute_stream": "7",
    }


def test_the_lane_describes_the_device() -> None:
    found = OrtCudaLane(driver=HostCuda().driver).describe()
    assert found["device"] == "Host 9000"
    assert found["onnxruntime"]
