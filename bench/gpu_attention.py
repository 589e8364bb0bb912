"""Three forms of the image tower's attention, made from the exported graph: which is fastest on CUDA, and exact.

The graph that ships has it written out (opset 18). The others replace each such piece by one operator, ONNX's own of
opset 23 or ONNX Runtime's MultiHeadAttention; everything else, weights included, is the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from bench.errors import BenchError
from heimdex_clip.encoder.manifest import DATA

WRITTEN_OUT, ATTENTION, MULTI_HEAD = "written out (opset 18)", "Attention (opset 23)", "MultiHeadAttention (ORT)"
FORMS = (WRITTEN_OUT, ATTENTION, MULTI_HEAD)
_OPSET_WITH_ATTENTION, _IR = 23, 11
_ORT_DOMAIN = "com.microsoft"


@dataclass(frozen=True, slots=True)
class _Piece:
    """One written-out attention: its nodes, and the names of what goes in, ``[B, L, W]``, and what comes out."""

    nodes: tuple[NodeProto, ...]
    query: str
    key: str
    value: str
    output: str
    heads: int
    scale: float


def derive(graph: Path, folder: Path) -> dict[str, Path]:
    """The graph in each of `FORMS`, by form: itself, and two new ones in `folder`, their weights beside them.

    Raises BenchError where the graph holds no attention in the exported form.
    """
    found = {WRITTEN_OUT: graph}
    for form, name in ((ATTENTION, "attention.onnx"), (MULTI_HEAD, "multihead.onnx")):
        model = onnx.load(str(graph), load_external_data=False)
        _rewrite(model, form)
        found[form] = folder / name
        onnx.save(model, str(found[form]))
    weights = graph.with_name(graph.name + DATA)
    if weights.exists():
        _beside(weights, folder)
    return found


def _beside(weights: Path, folder: Path) -> None:
    # A link of the file itself: ONNX Runtime takes no symbolic one for weights.
    try:
        os.link(weights, folder / weights.name)
    except OSError:
        shutil.copyfile(weights, folder / weights.name)


def _rewrite(model: ModelProto, form: str) -> None:
    pieces = list(_pieces(model))
    if not pieces:
        raise BenchError("the graph holds no attention in the exported form")
    instead = {id(piece.nodes[-1]): _operator(piece, form) for piece in pieces}
    gone = {id(node) for piece in pieces for node in piece.nodes}
    kept: list[NodeProto] = []
    for node in model.graph.node:
        if id(node) in instead:
            kept.append(instead[id(node)])
        elif id(node) not in gone:
            kept.append(node)
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    for constant in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(constant)
    if form == MULTI_HEAD:
        model.opset_import.append(helper.make_opsetid(_ORT_DOMAIN, 1))
    else:
        (default,) = [opset for opset in model.opset_import if opset.domain == ""]
        default.version, model.ir_version = _OPSET_WITH_ATTENTION, _IR


def _operator(piece: _Piece, form: str) -> NodeProto:
    own = form == MULTI_HEAD
    node: NodeProto = helper.make_node(
        "MultiHeadAttention" if own else "Attention",
        [piece.query, piece.key, piece.value],
        [piece.output],
        name=f"{piece.output}_attention",
        domain=_ORT_DOMAIN if own else "",
        scale=piece.scale,
    )
    for name in ("num_heads",) if own else ("q_num_heads", "kv_num_heads"):
        node.attribute.append(helper.make_attribute(name, piece.heads))
    return node


def _pieces(model: ModelProto) -> Iterator[_Piece]:
    """Each written-out attention: heads split off, q scaled, times k, softmax, times v, heads joined again."""
    nodes = list(model.graph.node)
    makers: dict[str, NodeProto] = {output: node for node in nodes for output in node.output}
    takers: dict[str, NodeProto] = {name: node for node in nodes for name in node.input}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}

    def made_by(name: str, kind: str) -> NodeProto:
        node = makers.get(name)
        if node is None or node.op_type != kind:
            raise BenchError(f"{name} is not made by {kind}: not the exported form of attention")
        return node

    for softmax in (node for node in nodes if node.op_type == "Softmax"):
        scores = made_by(softmax.input[0], "MatMul")
        scaled = made_by(scores.input[0], "Mul")
        queries, keys = made_by(scaled.input[0], "Transpose"), made_by(scores.input[1], "Transpose")
        mixed = takers[softmax.output[0]]
        values = made_by(mixed.input[1], "Transpose")
        joined = takers[mixed.output[0]]
        merged = takers[joined.output[0]]
        split = [made_by(part.input[0], "Reshape") for part in (queries, keys, values)]
        heads = numpy_helper.to_array(constants[split[0].input[1]])[2]
        yield _Piece(
            nodes=(*split, queries, keys, values, scaled, scores, softmax, mixed, joined, merged),
            query=split[0].input[0],
            key=split[1].input[0],
            value=split[2].input[0],
            output=merged.output[0],
            heads=int(heads),
            scale=float(numpy_helper.to_array(constants[scaled.input[1]])),
        )
