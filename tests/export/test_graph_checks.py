from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import graph_checks
from export.graph_checks import Expected, activation
from heimdex_clip.errors import ModelError

TEXT = Expected(
    tower="text",
    shapes={"ids": ("batch", "length"), "eot": ("batch",)},
    embedding_dim=24,
    layers=2,
    layer_norms=5,
    quick_gelu=True,
)
IMAGE = replace(TEXT, tower="image", shapes={"pixels": ("batch", 64, 64, 3)}, layer_norms=6)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_the_export_writes_passes(tiny_folder: Path, precision: str) -> None:
    graph_checks.check(tiny_folder / f"image.{precision}.onnx", IMAGE)
    graph_checks.check(tiny_folder / f"text.{precision}.onnx", TEXT)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_activation_other_than_the_flags_is_refused(tiny_folder: Path, precision: str) -> None:
    with pytest.raises(ModelError, match="computes quick_gelu, but the weights' configuration says gelu"):
        graph_checks.check(tiny_folder / f"image.{precision}.onnx", replace(IMAGE, quick_gelu=False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_norms": 7}, "has 6 LayerNormalization nodes, not 7"),
        ({"layers": 3}, "computes unknown"),
        ({"embedding_dim": 512}, "gives the shape"),
        ({"shapes": {"pixels": (1, 64, 64, 3)}}, "takes pixels in the shape"),
        ({"tower": "text", "shapes": TEXT.shapes}, "has the inputs"),
    ],
)
def test_another_form_than_expected_is_refused(tiny_folder: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        graph_checks.check(tiny_folder / "image.fp32.onnx", replace(IMAGE, **change))  # type: ignore[arg-type]


def test_a_convolution_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_folder / "image.fp32.onnx")
    kernel = numpy_helper.from_array(np.ones((1, 1, 1), np.float32), "kernel")
    data = numpy_helper.from_array(np.ones((1, 1, 4), np.float32), "data")
    model.graph.initializer.extend([kernel, data])
    model.graph.node.append(helper.make_node("Conv", ["data", "kernel"], ["convolved"]))
    onnx.save(model, tmp_path / "image.onnx")
    with pytest.raises(ModelError, match="holds a convolution"):
        graph_checks.check(tmp_path / "image.onnx", IMAGE)


def test_weights_in_another_file_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_folder / "image.fp32.onnx")
    onnx.save(model, tmp_path / "image.onnx", save_as_external_data=True, location="weights.bin")
    with pytest.raises(ModelError, match="keeps weights in another file"):
        graph_checks.check(tmp_path / "image.onnx", IMAGE)


def test_an_input_of_another_type_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_folder / "image.fp32.onnx")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, tmp_path / "image.onnx")
    with pytest.raises(ModelError, match="takes pixels as FLOAT"):
        graph_checks.check(tmp_path / "image.onnx", IMAGE)


def test_bytes_that_are_no_graph_are_refused(tmp_path: Path) -> None:
    (tmp_path / "image.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match=r"image\.onnx is not valid ONNX"):
        graph_checks.check(tmp_path / "image.onnx", IMAGE)


def _activations(*kinds: str) -> onnx.GraphProto:
    nodes = []
    for index, kind in enumerate(kinds):
        scale = "scale" if kind == "quick_gelu" else "other"
        if kind == "gelu":
            nodes.append(helper.make_node("Erf", ["x"], [f"y{index}"]))
        else:
            nodes.append(helper.make_node("Mul", ["x", scale], [f"s{index}"]))
            nodes.append(helper.make_node("Sigmoid", [f"s{index}"], [f"y{index}"]))
    scales = [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("scale", 1.702), ("other", 1.0))]
    return helper.make_graph(nodes, "g", [], [], initializer=scales)


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        (("quick_gelu", "quick_gelu"), "quick_gelu"),
        (("gelu", "gelu"), "gelu"),
        (("quick_gelu", "gelu"), "unknown"),
        (("silu", "silu"), "unknown"),
        (("quick_gelu",), "unknown"),
        ((), "unknown"),
    ],
)
def test_the_activation_is_read_from_the_nodes(kinds: tuple[str, ...], found: str) -> None:
    assert activation(_activations(*kinds), layers=2) == found
