"""What a finished ONNX file must look like, read from the file itself and not from what was asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships none
from onnx import TensorProto, numpy_helper

from export.graph import INPUTS, OPSET, OUTPUT
from heimdex_clip.encoder.manifest import DATA
from heimdex_clip.encoder.runtimes.base import TowerName
from heimdex_clip.errors import ModelError

_QUICK_GELU_SCALE = 1.702
_INPUT_TYPES = {"pixels": TensorProto.UINT8, "ids": TensorProto.INT64, "eot": TensorProto.INT64}


@dataclass(frozen=True, slots=True)
class Expected:
    """What the graph of one tower must be: its `inputs`' shapes (str for a free axis) and its modules."""

    tower: TowerName
    shapes: dict[str, tuple[int | str, ...]]
    embedding_dim: int
    layers: int
    layer_norms: int
    quick_gelu: bool


def check(path: Path, expected: Expected) -> None:
    """Check one file. Raises ModelError naming the first thing that is not as it must be."""
    try:
        model = onnx.load(path, load_external_data=False)
        elsewhere = {_location(tensor) for tensor in model.graph.initializer} - {None, path.name + DATA}
        _require(not elsewhere, path, "keeps weights in another file than its own")
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, DecodeError) as error:
        raise ModelError(f"{path.name} is not valid ONNX: {str(error).splitlines()[0]}") from None
    _require([o.version for o in model.opset_import if not o.domain] == [OPSET], path, f"is not opset {OPSET}")
    counts = Counter(node.op_type for node in model.graph.node)
    convolutions = [name for name in counts if "Conv" in name]
    _require(not convolutions, path, "holds a convolution")
    norms = counts["LayerNormalization"]
    _require(
        norms == expected.layer_norms,
        path,
        f"has {norms} LayerNormalization nodes, not {expected.layer_norms}",
    )
    _check_interface(model.graph, path, expected)
    found = activation(model.graph, expected.layers)
    wanted = "quick_gelu" if expected.quick_gelu else "gelu"
    _require(found == wanted, path, f"computes {found}, but the weights' configuration says {wanted}")


def activation(graph: onnx.GraphProto, layers: int) -> str:
    """ "quick_gelu" or "gelu", whichever the graph computes exactly `layers` times; else "unknown"."""
    producers = {output: node for node in graph.node for output in node.output}
    constants = _scalars(graph)
    quick = sum(node.op_type == "Sigmoid" and _is_scaled(node, producers, constants) for node in graph.node)
    sigmoids = sum(node.op_type == "Sigmoid" for node in graph.node)
    exact = sum(node.op_type in ("Erf", "Gelu") for node in graph.node)
    if (quick, sigmoids, exact) == (layers, layers, 0):
        return "quick_gelu"
    return "gelu" if (sigmoids, exact) == (0, layers) else "unknown"


def _is_scaled(sigmoid: onnx.NodeProto, producers: dict[str, onnx.NodeProto], constants: dict[str, float]) -> bool:
    """Whether a Sigmoid works on 1.702 times something (to fp16's precision)."""
    scale = producers.get(sigmoid.input[0])
    if scale is None or scale.op_type != "Mul":
        return False
    factors = [constants[name] for name in scale.input if name in constants]
    return any(abs(factor - _QUICK_GELU_SCALE) < 1e-3 for factor in factors)


def _scalars(graph: onnx.GraphProto) -> dict[str, float]:
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            tensors.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    return {
        name: float(np.ravel(numpy_helper.to_array(tensor))[0])
        for name, tensor in tensors.items()
        if int(np.prod(tensor.dims)) == 1
    }


def _check_interface(graph: onnx.GraphProto, path: Path, expected: Expected) -> None:
    names = tuple(value.name for value in graph.input)
    _require(names == INPUTS[expected.tower], path, f"has the inputs {names}")
    for value in graph.input:
        kind = value.type.tensor_type.elem_type
        _require(kind == _INPUT_TYPES[value.name], path, f"takes {value.name} as {TensorProto.DataType.Name(kind)}")
        shape = _shape(value)
        _require(shape == expected.shapes[value.name], path, f"takes {value.name} in the shape {shape}")
    (output,) = graph.output
    _require(output.name == OUTPUT, path, f"has the output {output.name}")
    _require(output.type.tensor_type.elem_type == TensorProto.FLOAT, path, "does not give float32")
    _require(_shape(output) == ("batch", expected.embedding_dim), path, f"gives the shape {_shape(output)}")


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)


def _location(tensor: onnx.TensorProto) -> str | None:
    """The file that holds a tensor's values, None where the graph itself does."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _require(holds: bool, path: Path, what: str) -> None:
    if not holds:
        raise ModelError(f"{path.name} {what}")
