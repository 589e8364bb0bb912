"""The three forms of attention: that they are three, and give the same numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from bench import gpu_attention
from bench.errors import BenchError
from bench.gpu_attention import ATTENTION, FORMS, MULTI_HEAD, WRITTEN_OUT
from heimdex_clip.encoder import golden
from heimdex_clip.encoder.gates import EXPORT_FP32, measure
from heimdex_clip.encoder.runtimes.ort_cpu import open_graph
from tests import tiny_model

BLOCKS = 12


def kinds(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_block_of_the_model_is_rewritten_and_nothing_else(
    model_dir: Path, tmp_path: Path, precision: str
) -> None:
    found = {form: kinds(path) for form, path in gpu_attention.derive(_graph(model_dir, precision), tmp_path).items()}
    assert tuple(found) == FORMS
    plain = found[WRITTEN_OUT]
    assert plain["Softmax"] == BLOCKS
    for form, operator in ((ATTENTION, "Attention"), (MULTI_HEAD, "MultiHeadAttention")):
        assert found[form][operator] == BLOCKS
        assert found[form]["Softmax"] == 0
        gone = plain - found[form]
        assert gone["MatMul"] == 2 * BLOCKS
        assert set(gone) == {"Reshape", "Transpose", "Mul", "MatMul", "Softmax"}


def test_the_forms_are_equal_on_the_cpu(model_dir: Path, tmp_path: Path) -> None:
    stored = golden.load(model_dir)
    pixels, expected = stored.pixels[:2], stored.image_embeddings[:2]
    for form, path in gpu_attention.derive(_graph(model_dir, "fp32"), tmp_path).items():
        vectors = open_graph(path)(pixels)
        assert EXPORT_FP32.holds(measure(vectors, expected)), form
        assert np.isfinite(vectors).all()


def test_a_graph_without_attention_is_refused(tmp_path: Path) -> None:
    folder = tiny_model.build(tmp_path / "tiny")
    with pytest.raises(BenchError, match="holds no attention"):
        gpu_attention.derive(folder / tiny_model.IMAGE, tmp_path)


def test_attention_in_another_form_is_refused_by_name(model_dir: Path, tmp_path: Path) -> None:
    model = onnx.load(str(_graph(model_dir, "fp32")), load_external_data=False)
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.input[0] = "somewhere else"
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(BenchError, match="somewhere else is not made by MatMul"):
        gpu_attention.derive(tmp_path / "other.onnx", tmp_path)


def _graph(model_dir: Path, precision: str) -> Path:
    return model_dir / f"image.{precision}.onnx"
