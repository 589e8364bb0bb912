from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from export import build
from export.progress import Progress
from export.weights import Weights
from heimdex_clip.encoder import golden, manifest
from heimdex_clip.encoder.encoder import open_encoder
from heimdex_clip.encoder.gates import EXPORT_FP16, EXPORT_FP32, measure
from heimdex_clip.errors import ModelError, SettingsError


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_manifest_describes_the_folder(tiny_folder: Path, tiny_weights: Weights) -> None:
    made = manifest.load(tiny_folder)
    assert {*made.files, manifest.FILE_NAME} == {path.name for path in tiny_folder.iterdir()}
    for name, entry in made.files.items():
        manifest.check_file(tiny_folder, name, entry)
        assert entry.bytes == (tiny_folder / name).stat().st_size
    for tower in ("image", "text"):
        for precision, gate in (("fp32", EXPORT_FP32), ("fp16", EXPORT_FP16)):
            entry = made.entry(made.graph(tower, precision))
            assert entry.opset == 18
            assert entry.parity is not None
            assert gate.holds(entry.parity)
    assert (made.model, made.pretrained, made.untrained) == ("tiny-ViT", "untrained-0", True)
    assert made.identity.weights_sha256 == tiny_weights.sha256
    assert made.identity.quick_gelu
    assert made.identity.embedding_dim == 24
    assert {"torch", "open_clip_torch", "onnx", "python"} <= made.exporter.keys()


def test_the_encoder_serves_the_folder(tiny_folder: Path) -> None:
    encoder = open_encoder(tiny_folder, runtime="cpu")
    reference = golden.load(tiny_folder)
    assert EXPORT_FP32.holds(measure(encoder.encode_pixels(reference.pixels), reference.image_embeddings))
    vectors, truncated = encoder.encode_texts(reference.texts)
    assert EXPORT_FP32.holds(measure(vectors, reference.text_embeddings))
    assert sum(truncated) == 1


def test_a_wrong_activation_flag_fails_the_export_and_leaves_what_was_there(
    tiny_weights: Weights, tiny_folder: Path, tmp_path: Path, progress: Progress
) -> None:
    out = _made(tmp_path / "model")
    (out / manifest.FILE_NAME).write_bytes((tiny_folder / manifest.FILE_NAME).read_bytes())
    before = _contents(out)
    lying = replace(tiny_weights, quick_gelu=False)
    with pytest.raises(ModelError, match="computes quick_gelu, but the weights' configuration says gelu"):
        build.build(lying, out, progress)
    assert _contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_never_replaced(
    tiny_weights: Weights, tmp_path: Path, progress: Progress
) -> None:
    out = _made(tmp_path / "photos")
    (out / "me.jpg").write_bytes(b"dear to me")
    with pytest.raises(SettingsError, match="photos holds something that is not a model"):
        build.build(tiny_weights, out, progress)
    with pytest.raises(SettingsError, match="not a model"):
        build.build(tiny_weights, out / "me.jpg", progress)
    assert _contents(out) == {"me.jpg": b"dear to me"}


def test_a_place_that_cannot_be_written_is_one_line(tiny_weights: Weights, tmp_path: Path, progress: Progress) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"cannot write .*model \(File exists\)"):
        build.build(tiny_weights, tmp_path / "file" / "model", progress)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
