"""A whole model folder in miniature: real graphs, tokenizer, golden vectors and manifest, made in a moment.

Towers are one matrix each, so the reference is a line of NumPy. For tests of what handles model folders; parity with
open_clip is tested on the exported model.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from heimdex_clip.encoder import golden, manifest, tokenizer
from heimdex_clip.encoder.golden import Golden
from heimdex_clip.encoder.manifest import FileEntry, Identity, Manifest, Preprocessing, TokenizerIdentity
from heimdex_clip.encoder.preprocess import preprocess

SIZE = 8
CONTEXT = 24  # the second text is longer
TEXTS = ("a cat", "two dogs on a very long walk home")
IMAGE, TEXT = "image.fp32.onnx", "text.fp32.onnx"
_OPSET, _IR = 18, 10


def build(folder: Path, *, seed: int = 0, dim: int = 5) -> Path:
    """Write a model folder whose weights come from `seed`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    vocabulary = _write_tokenizer(folder)
    matrix = random.normal(size=(SIZE * SIZE * 3, dim)).astype(np.float32)
    table = random.normal(size=(len(vocabulary) + 3, dim)).astype(np.float32)
    table[0] = 0  # the padding's row
    _write_image_graph(folder / IMAGE, matrix)
    _write_text_graph(folder / TEXT, table)
    token_rule = TokenizerIdentity(
        _sha256(folder / tokenizer.FILE_NAME), CONTEXT, sot=len(vocabulary) + 1, eot=len(vocabulary) + 2
    )
    _write_golden(folder, token_rule, matrix, table)
    Manifest(
        model="tiny",
        pretrained=f"untrained-{seed}",
        untrained=True,
        identity=Identity(
            weights_sha256=hashlib.sha256(matrix.tobytes() + table.tobytes()).hexdigest(),
            quick_gelu=False,
            embedding_dim=dim,
            preprocessing=Preprocessing(SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
            tokenizer=token_rule,
        ),
        exporter={"onnx": onnx.__version__},
        files={},
    ).save(folder)
    return seal(folder)


def seal(folder: Path, change: Callable[[Manifest], Manifest] = lambda model: model) -> Path:
    """Write the manifest again, after `change`, for the files as they are now; returns the folder."""
    towers = {IMAGE: "image", TEXT: "text"}
    files = {
        name: FileEntry(
            sha256=_sha256(folder / name),
            bytes=(folder / name).stat().st_size,
            tower=towers.get(name),
            precision="fp32" if name in towers else None,
            opset=_OPSET if name in towers else None,
        )
        for name in (IMAGE, TEXT, tokenizer.FILE_NAME, golden.FILE_NAME)
    }
    change(replace(manifest.load(folder), files=files)).save(folder)
    return folder


def change_golden(folder: Path, change: Callable[[Golden], Golden]) -> Path:
    """Alter the golden vectors and seal the folder again; returns it."""
    change(golden.load(folder)).save(folder)
    return seal(folder)


def _write_tokenizer(folder: Path) -> dict[str, int]:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {
        piece: index for index, piece in enumerate([*letters, *(letter + "</w>" for letter in letters)], start=1)
    }
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=[], end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.save(str(folder / tokenizer.FILE_NAME))
    return vocabulary


def _write_golden(
    folder: Path, rule: TokenizerIdentity, matrix: NDArray[np.float32], table: NDArray[np.float32]
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[0]).resize((3 * SIZE, 2 * SIZE)).save(file, "JPEG")
    pixels[0] = preprocess(file.getvalue(), size=SIZE, max_pixels=10**6)
    batch = tokenizer.Tokenizer.load(folder, rule)(TEXTS)
    ids = np.zeros((len(TEXTS), CONTEXT), np.int64)
    ids[:, : batch.ids.shape[1]] = batch.ids
    Golden(
        photo=file.getvalue(),
        pixels=pixels,
        image_embeddings=pixels.reshape(len(pixels), -1).astype(np.float32) @ matrix,
        texts=TEXTS,
        ids=ids,
        text_embeddings=table[ids].sum(axis=1) + batch.eot[:, None].astype(np.float32),
    ).save(folder)


def _write_image_graph(path: Path, matrix: NDArray[np.float32]) -> None:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "row"], ["rows"]),
        helper.make_node("MatMul", ["rows", "matrix"], ["vectors"]),
    ]
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["B", SIZE, SIZE, 3])]
    _write_graph(path, nodes, inputs, matrix=matrix, row=np.array([-1, len(matrix)], np.int64))


def _write_text_graph(path: Path, table: NDArray[np.float32]) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["tokens"]),
        helper.make_node("ReduceSum", ["tokens", "along"], ["sums"], keepdims=0),
        helper.make_node("Cast", ["eot"], ["position"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["position", "along"], ["column"]),
        helper.make_node("Add", ["sums", "column"], ["vectors"]),
    ]
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", "L"]),
        helper.make_tensor_value_info("eot", TensorProto.INT64, ["B"]),
    ]
    _write_graph(path, nodes, inputs, table=table, along=np.array([1], np.int64))


def _write_graph(
    path: Path, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], **constants: NDArray[np.generic]
) -> None:
    outputs = [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["B", "D"])]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
