"""Every lane that this machine's GPU can run, held to PyTorch fp32 on the same GPU.

Without a GPU, and for a lane that cannot run, they are skipped with the reason.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from export import reference
from export.progress import Progress
from export.reference import Reference
from heimdex_clip.encoder import engines, manifest
from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.encoder.engines import FIXED_SIZES
from heimdex_clip.encoder.gates import EXPORT_FP16, measure
from heimdex_clip.encoder.manifest import FileEntry, Manifest
from heimdex_clip.encoder.runtimes import LANES, cuda_driver
from heimdex_clip.encoder.runtimes.base import Lane
from heimdex_clip.encoder.runtimes.cuda_driver import Device
from heimdex_clip.encoder.runtimes.cuda_tower import CudaTower
from heimdex_clip.encoder.runtimes.trt_tower import TensorRtTower
from heimdex_clip.errors import LaneUnavailable

DEVICE = cuda_driver.probe()
WORDS = "a photo of the very large red dog that sits on every old boat in some distant harbour at night"
GPU_LANES = [lane for lane in LANES if lane.name != "cpu"]
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


@pytest.fixture(scope="module", params=GPU_LANES, ids=lambda lane: lane.name)
def lane(request: pytest.FixtureRequest, model_dir: Path) -> Lane:
    found: Lane = request.param
    if reason := found.unavailable(manifest.load(model_dir)):
        pytest.skip(f"{found.name}: {reason}")
    return found


@pytest.fixture(scope="module")
def encoder(lane: Lane, model_dir: Path) -> Encoder:
    return open_encoder(model_dir, runtime=lane.name)


def photographs(count: int, side: int) -> NDArray[np.uint8]:
    """Smooth random pictures, others in every run; the seed is printed for a failure to be repeated."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 9, 9, 3), np.uint8)
    large = [Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC) for one in coarse]
    noise = random.integers(-20, 21, (count, side, side, 3))
    return np.clip(np.stack([np.asarray(one) for one in large]) + noise, 0, 255).astype(np.uint8)


def on_the_gpu(model: Reference, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    mean = torch.tensor(model.weights.preprocessing.mean, device="cuda")[:, None, None]
    std = torch.tensor(model.weights.preprocessing.std, device="cuda")[:, None, None]
    with torch.inference_mode():
        planes = torch.from_numpy(pixels).cuda().permute(0, 3, 1, 2).float() / 255
        vectors: torch.Tensor = model.weights.clip.encode_image((planes - mean) / std)
        return vectors.float().cpu().numpy()


@pytest.mark.parametrize("size", [*FIXED_SIZES, 3, 100])
def test_pictures_equal_pytorch_on_this_gpu(encoder: Encoder, torch_model: Reference, size: int) -> None:
    pixels = photographs(size, encoder.image_size)
    parity = measure(encoder.encode_pixels(pixels), on_the_gpu(torch_model, pixels))
    assert EXPORT_FP16.holds(parity), str(parity)


@pytest.mark.parametrize("size", [*FIXED_SIZES, 3, 100])
def test_texts_equal_pytorch_on_this_gpu(encoder: Encoder, torch_model: Reference, size: int) -> None:
    words = WORDS.split()
    texts = [f"{' '.join(words[: 1 + row % len(words)])} {secrets.randbits(16)}" for row in range(size)]
    ids = torch.from_numpy(torch_model.text_ids(texts)).cuda()
    with torch.inference_mode():
        expected = torch_model.weights.clip.encode_text(ids).float().cpu().numpy()
    parity = measure(encoder.encode_texts(texts)[0], expected)
    assert EXPORT_FP16.holds(parity), str(parity)


def test_nothing_larger_than_the_pixels_goes_to_the_device(lane: Lane, model_dir: Path) -> None:
    tower = lane.open(model_dir, manifest.load(model_dir), "image")
    assert isinstance(tower, CudaTower | TensorRtTower)
    side = manifest.load(model_dir).identity.preprocessing.image_size
    pixels = photographs(8, side)
    tower(pixels)
    assert tower.buffers.sent_bytes == pixels.nbytes == 8 * side * side * 3


def test_another_picture_fails_the_gate(encoder: Encoder, torch_model: Reference) -> None:
    pixels = photographs(2, encoder.image_size)
    assert not EXPORT_FP16.holds(measure(encoder.encode_pixels(pixels[:1]), on_the_gpu(torch_model, pixels[1:])))


def test_a_plan_of_another_device_is_refused_by_the_runtime(lane: Lane, model_dir: Path, tmp_path: Path) -> None:
    """One whose hash holds and that is recorded for this GPU, but is none: TensorRT must say so, not crash."""
    if lane.name not in engines.FLAVOURS:
        pytest.skip("the lane has no engines")
    assert isinstance(DEVICE, Device)
    model = manifest.load(model_dir)
    name, engine = next((key, one) for key, one in model.engines.items() if one.flavour == lane.name)
    rubbish = b"not a plan" * 1000
    file = engine.plans["image"].file
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(rubbish)
    entry = FileEntry(hashlib.sha256(rubbish).hexdigest(), len(rubbish))
    changed: Manifest = replace(model, files={**model.files, file: entry}, engines={name: engine})
    with pytest.raises(LaneUnavailable, match="cannot load"):
        lane.open(tmp_path, changed, "image")
