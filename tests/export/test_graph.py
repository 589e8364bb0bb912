from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from export import graph
from export.towers import ImageTower
from export.weights import Weights
from heimdex_clip.encoder.runtimes.ort_cpu import open_graph

GRAPHS = ("image.fp32.onnx", "image.fp16.onnx", "text.fp32.onnx", "text.fp16.onnx")


@pytest.mark.parametrize("name", GRAPHS)
def test_the_file_tells_nothing_of_the_machine_it_was_made_on(tiny_folder: Path, name: str) -> None:
    data = (tiny_folder / name).read_bytes()
    assert b"site-packages" not in data
    assert str(Path(graph.__file__).parent).encode() not in data


@pytest.mark.parametrize("name", GRAPHS)
def test_no_name_is_given_twice(tiny_folder: Path, name: str) -> None:
    model = onnx.load(tiny_folder / name)
    names = [output for node in model.graph.node for output in node.output]
    names += [tensor.name for tensor in model.graph.initializer]
    assert len(names) == len(set(names))


def test_the_same_weights_give_the_same_bytes(tiny_weights: Weights, tiny_folder: Path, tmp_path: Path) -> None:
    rule = tiny_weights.preprocessing
    image = ImageTower(tiny_weights.clip.visual, rule.mean, rule.std)
    graph.export_image(image, tmp_path / "image.fp32.onnx", image_size=rule.image_size, precision="fp32")
    for name in ("image.fp32.onnx", "image.fp32.onnx.data"):
        assert (tmp_path / name).read_bytes() == (tiny_folder / name).read_bytes()


def test_half_graphs_have_half_weights_and_leave_the_source_alone(tiny_weights: Weights, tiny_folder: Path) -> None:
    for name in ("image.fp16.onnx", "text.fp16.onnx"):
        model = onnx.load(tiny_folder / name)
        kinds = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1}
        assert onnx.TensorProto.FLOAT16 in kinds
        assert onnx.TensorProto.FLOAT not in kinds
    assert {str(parameter.dtype) for parameter in tiny_weights.clip.parameters()} == {"torch.float32"}


@pytest.mark.parametrize("batch", [1, 3, 70])
@pytest.mark.parametrize("length", [2, 3, 77])
def test_any_batch_and_any_length_up_to_the_context_run(tiny_folder: Path, batch: int, length: int) -> None:
    tower = open_graph(tiny_folder / "text.fp32.onnx")
    ids = np.full((batch, length), 320, np.int64)
    vectors = tower(ids, np.full(batch, length - 1, np.int64))
    assert vectors.shape == (batch, 24)
    np.testing.assert_allclose(vectors, np.broadcast_to(vectors[:1], vectors.shape), atol=1e-5)
