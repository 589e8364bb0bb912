"""Every lane that this machine's GPU can run, plainly and with CUDA graphs, held to PyTorch fp32 on the same GPU.

Without a GPU, and for a lane that cannot run, they are skipped with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.gpu import lanes_both_ways
from bench.gpu_report import WITH_GRAPHS
from export import reference
from export.progress import Progress
from export.reference import Reference
from heimdex_clip.encoder import engines, manifest
from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.encoder.engines import FIXED_SIZES
from heimdex_clip.encoder.gates import EXPORT_FP16, measure
from heimdex_clip.encoder.manifest import FileEntry, Manifest
from heimdex_clip.encoder.runtimes import cuda_driver
from heimdex_clip.encoder.runtimes.base import Lane
from heimdex_clip.encoder.runtimes.cuda_driver import Device
from heimdex_clip.encoder.runtimes.cuda_tower import CudaTower
from heimdex_clip.encoder.runtimes.trt_tower import TensorRtTower
from heimdex_clip.errors import LaneUnavailable
from tests.gpu import checks, torch_side

DEVICE = cuda_driver.probe()
ON = "cuda"
GPU_LANES = lanes_both_ways()
SIZES = (*FIXED_SIZES, 3, 100)
pytestmark = pytest.mark.skipif(isinstance(DEVICE, str), reason=f"no GPU: {DEVICE}")


@pytest.fixture(scope="module")
def torch_model(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    """open_clip's model on the GPU, in fp32 without TF32."""
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    cache = tmp_path_factory.mktemp("cache")
    found = reference.load(manifest.load(model_dir), checkpoint=None, cache=cache, progress=Progress())
    found.weights.clip.cuda()
    yield found
    found.weights.clip.cpu()


@pytest.fixture(scope="module", params=GPU_LANES, ids=lambda name: name.replace(", ", "-").replace(" ", "-"))
def name(request: pytest.FixtureRequest) -> str:
    """A lane's, in the report of the measurement."""
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def lane(name: str, model_dir: Path) -> Lane:
    found = GPU_LANES[name]
    if reason := found.unavailable(manifest.load(model_dir)):
        pytest.skip(f"{name}: {reason}")
    return found


@pytest.fixture(scope="module")
def encoder(lane: Lane, model_dir: Path) -> Encoder:
    return open_encoder(model_dir, runtime=lane.name, lanes=[lane])


@pytest.mark.parametrize("size", SIZES)
def test_pictures_equal_pytorch_on_this_gpu(encoder: Encoder, torch_model: Reference, size: int) -> None:
    checks.pictures_hold(encoder, size, lambda pixels: torch_side.image_vectors(torch_model, pixels, ON))


@pytest.mark.parametrize("size", SIZES)
def test_texts_equal_pytorch_on_this_gpu(encoder: Encoder, torch_model: Reference, size: int) -> None:
    checks.texts_hold(encoder, size, lambda words: torch_side.text_vectors(torch_model, words, ON))


def test_graphs_were_captured_where_they_are_wanted_and_nowhere_else(name: str, encoder: Encoder) -> None:
    """After every size ran: a lane that could capture none of them would pass for one that did."""
    pixels = checks.photographs(max(FIXED_SIZES), encoder.image_size)
    for size in FIXED_SIZES:
        for _ in range(checks.RUNS):
            encoder.encode_pixels(pixels[:size])
    told = encoder.lane.describe()
    found = {key: text for key, text in told.items() if key.startswith("cuda_graphs")}
    if not name.endswith(WITH_GRAPHS):
        assert found == {}
    elif encoder.lane.name == "tensorrt-rtx":
        assert found == {"cuda_graphs": "by TensorRT-RTX"}
    else:
        assert found["cuda_graphs_image"] == f"{len(FIXED_SIZES)} captured", found


@pytest.mark.parametrize("size", [1, 8, 64])
def test_nothing_larger_than_the_pixels_goes_to_the_device(
    lane: Lane, model_dir: Path, tmp_path: Path, size: int
) -> None:
    """By the profiler, which sees the copies of every library; and by the lane's own count."""
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU, and its profiler with it")
    model = manifest.load(model_dir)
    tower = lane.open(model_dir, model, "image")
    assert isinstance(tower, CudaTower | TensorRtTower)
    pixels = checks.photographs(size, model.identity.preprocessing.image_size)
    for _ in range(checks.RUNS):
        tower(pixels)
    before = tower.buffers.sent_bytes
    checks.copies_hold(torch_side.copies_during(lambda: tower(pixels), tmp_path), pixels)
    assert tower.buffers.sent_bytes - before == pixels.nbytes


def test_another_picture_fails_the_gate(encoder: Encoder, torch_model: Reference) -> None:
    pixels = checks.photographs(2, encoder.image_size)
    expected = torch_side.image_vectors(torch_model, pixels[1:], ON)
    assert not EXPORT_FP16.holds(measure(encoder.encode_pixels(pixels[:1]), expected))


def test_a_plan_of_another_device_is_refused_by_the_runtime(lane: Lane, model_dir: Path, tmp_path: Path) -> None:
    """One whose hash holds and that is recorded for this GPU, but is none: TensorRT must say so, not crash."""
    if lane.name not in engines.FLAVOURS:
        pytest.skip("the lane has no engines")
    assert isinstance(DEVICE, Device)
    model = manifest.load(model_dir)
    fitting = engines.fit(model, lane.name, DEVICE.compute_capability)
    rubbish = b"not a plan" * 1000
    file = fitting.plans["image"].file
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(rubbish)
    entry = FileEntry(hashlib.sha256(rubbish).hexdigest(), len(rubbish))
    changed: Manifest = replace(model, files={**model.files, file: entry}, engines={"this": fitting})
    with pytest.raises(LaneUnavailable, match="cannot load"):
        lane.open(tmp_path, changed, "image")
