"""The CUDA lane up to the device: its tower's copies and bindings are real, on the CPU provider and host memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heimdex_clip.encoder import golden, manifest
from heimdex_clip.encoder.gates import EXPORT_FP32, measure
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.recovery import DeviceLost
from heimdex_clip.encoder.runtimes.cuda_tower import CudaTower
from heimdex_clip.encoder.runtimes.device_buffers import DeviceBuffers
from heimdex_clip.encoder.runtimes.ort_cuda import OrtCudaLane, open_session, provider_options
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
