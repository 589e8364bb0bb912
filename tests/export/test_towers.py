from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from export.progress import Progress
from export.towers import ImageTower, TextTower
from export.weights import Source, Weights, resolve
from heimdex_clip.encoder.gates import EXPORT_FP16, EXPORT_FP32, measure


@pytest.fixture(params=[True, False], ids=["quick_gelu", "gelu"])
def weights(request: pytest.FixtureRequest, tiny_model: str, tmp_path: Path, progress: Progress) -> Weights:
    return resolve(Source(model=tiny_model, untrained=3, quick_gelu=request.param), cache=tmp_path, progress=progress)


def _image_tower(weights: Weights) -> ImageTower:
    rule = weights.preprocessing
    return ImageTower(weights.clip.visual, rule.mean, rule.std).eval()


def _pixels(weights: Weights, count: int) -> torch.Tensor:
    size = weights.preprocessing.image_size
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)


def _normalised(weights: Weights, pixels: torch.Tensor) -> torch.Tensor:
    rule = weights.preprocessing
    scaled = (pixels.float() / 255 - torch.tensor(rule.mean)) / torch.tensor(rule.std)
    return scaled.permute(0, 3, 1, 2)


def _ids(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of different lengths, the first with nothing between start and end, the last of the full context."""
    ids = torch.zeros(count, 77, dtype=torch.int64)
    eot = torch.linspace(1, 76, count).long()
    for row, end in zip(ids, eot.tolist(), strict=True):
        row[0], row[1:end], row[end] = 49406, torch.arange(100, 100 + end - 1), 49407
    return ids, eot


@pytest.mark.parametrize("batch", [1, 5])
@torch.inference_mode()
def test_the_image_tower_gives_open_clips_vectors(weights: Weights, batch: int) -> None:
    pixels = _pixels(weights, batch)
    expected = weights.clip.encode_image(_normalised(weights, pixels))
    assert EXPORT_FP32.holds(measure(_image_tower(weights)(pixels).numpy(), expected.numpy()))


@torch.inference_mode()
def test_the_text_tower_gives_open_clips_vectors(weights: Weights) -> None:
    ids, eot = _ids(6)
    expected = weights.clip.encode_text(ids)
    assert EXPORT_FP32.holds(measure(TextTower(weights.clip)(ids, eot).numpy(), expected.numpy()))


@torch.inference_mode()
def test_padding_after_the_end_of_text_changes_nothing(weights: Weights) -> None:
    ids, eot = _ids(6)
    tower = TextTower(weights.clip)
    length = int(eot[:4].max()) + 1
    assert length < 77
    trimmed = tower(ids[:4, :length], eot[:4])
    assert EXPORT_FP32.holds(measure(trimmed.numpy(), tower(ids[:4], eot[:4]).numpy()))


@torch.inference_mode()
def test_half_towers_normalise_in_fp32_and_give_float32(weights: Weights) -> None:
    pixels, (ids, eot) = _pixels(weights, 3), _ids(3)
    image = copy.deepcopy(_image_tower(weights)).half()(pixels)
    text = copy.deepcopy(TextTower(weights.clip)).half()(ids, eot)
    assert image.dtype == text.dtype == torch.float32
    expected = weights.clip.encode_image(_normalised(weights, pixels))
    assert EXPORT_FP16.holds(measure(image.numpy(), expected.numpy()))
    assert EXPORT_FP16.holds(measure(text.numpy(), weights.clip.encode_text(ids).numpy()))


def test_the_towers_share_the_sources_memory_and_hold_no_convolution(tiny_weights: Weights) -> None:
    image, text = _image_tower(tiny_weights), TextTower(tiny_weights.clip)
    own = {p.untyped_storage().data_ptr() for p in tiny_weights.clip.parameters()}
    # The patch kernel is laid out anew.
    copied = {n for n, p in image.named_parameters() if p.untyped_storage().data_ptr() not in own}
    assert copied == {"patch_weight"}
    assert all(p.untyped_storage().data_ptr() in own for p in text.parameters())
    assert not any(isinstance(module, nn.Conv2d) for module in image.modules())
