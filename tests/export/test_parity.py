from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export import parity
from export.weights import Weights
from heimdex_clip.encoder import golden
from heimdex_clip.errors import ModelError


@pytest.fixture(scope="module")
def image_trial(tiny_weights: Weights, tiny_folder: Path) -> parity.Trial:
    return parity.image_trial(tiny_weights, golden.load(tiny_folder))


@pytest.fixture(scope="module")
def text_trial(tiny_weights: Weights, tiny_folder: Path) -> parity.Trial:
    return parity.text_trial(tiny_weights, golden.load(tiny_folder))


def test_trials_fill_the_largest_batch_with_different_rows(image_trial: parity.Trial, text_trial: parity.Trial) -> None:
    assert len(image_trial) == len(text_trial) == 32
    for trial in (image_trial, text_trial):
        assert len({row.tobytes() for row in trial.inputs[0]}) == 32
    assert len(set(text_trial.inputs[1].tolist())) > 8  # lengths


def test_every_batch_size_is_measured(tiny_folder: Path, image_trial: parity.Trial, text_trial: parity.Trial) -> None:
    image = parity.measure_graph(tiny_folder / "image.fp32.onnx", "image", "fp32", image_trial)
    assert image.vectors == 4 * 32
    text = parity.measure_graph(tiny_folder / "text.fp16.onnx", "text", "fp16", text_trial)
    assert text.vectors == 2 * 4 * 32
    assert text.max_abs > image.max_abs > 0


@pytest.mark.parametrize("wrong", [1.001, np.nan])
def test_one_row_off_fails_the_gate(tiny_folder: Path, image_trial: parity.Trial, wrong: float) -> None:
    expected = image_trial.expected.copy()
    expected[20] *= wrong
    with pytest.raises(ModelError, match=r"parity gate 'export fp32' fails for image\.fp32\.onnx: .* max abs"):
        parity.measure_graph(tiny_folder / "image.fp32.onnx", "image", "fp32", replace(image_trial, expected=expected))


def test_fp16_is_held_to_its_direction_only(tiny_folder: Path, image_trial: parity.Trial) -> None:
    longer = replace(image_trial, expected=image_trial.expected * np.float32(1.5))
    path = tiny_folder / "image.fp16.onnx"
    assert parity.measure_graph(path, "image", "fp16", longer).min_cosine > 0.9999
    turned = longer.expected.copy()
    turned[0, 0] += 1
    with pytest.raises(ModelError, match="parity gate 'export fp16'"):
        parity.measure_graph(path, "image", "fp16", replace(longer, expected=turned))


def test_reading_the_text_at_another_row_fails_the_gate(tiny_folder: Path, text_trial: parity.Trial) -> None:
    ids, eot = text_trial.inputs
    with pytest.raises(ModelError, match="parity gate"):
        parity.measure_graph(tiny_folder / "text.fp32.onnx", "text", "fp32", replace(text_trial, inputs=(ids, eot - 1)))
