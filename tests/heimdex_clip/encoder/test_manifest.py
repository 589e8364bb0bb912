from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heimdex_clip.encoder import manifest
from heimdex_clip.encoder.engines import Engine, Plan
from heimdex_clip.encoder.gates import Parity
from heimdex_clip.encoder.manifest import FileEntry, Identity, Manifest, Preprocessing, TokenizerIdentity
from heimdex_clip.errors import ModelError

IDENTITY = Identity(
    weights_sha256="a" * 64,
    quick_gelu=True,
    embedding_dim=512,
    preprocessing=Preprocessing(224, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    tokenizer=TokenizerIdentity("b" * 64, 77, 49406, 49407),
)
ENGINE = Engine(
    flavour="tensorrt-rtx",
    compute_capabilities=(86, 89),
    tensorrt="1.7",
    precision="fp16",
    plans={"image": Plan("engines/base-sm89/image.plan", {"image.fp16.onnx": "e" * 64}, ((1, 8, 64),))},
)
MODEL = Manifest(
    model="ViT-B-32",
    pretrained="openai",
    untrained=False,
    identity=IDENTITY,
    exporter={"torch": "2"},
    files={
        "image.fp32.onnx": FileEntry("c" * 64, 10, "image", "fp32", 23, Parity(0.9999999, 1e-6, 46)),
        "engines/base-sm89/image.plan": FileEntry("d" * 64, 20),
    },
    engines={"base-sm89": ENGINE},
)


def spoil(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / manifest.FILE_NAME
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    MODEL.save(tmp_path)
    return tmp_path


def test_what_was_saved_is_loaded(folder: Path) -> None:
    assert manifest.load(folder) == MODEL


def test_the_digest_stands_in_the_file_and_is_the_identitys(folder: Path) -> None:
    canonical = json.loads((folder / manifest.FILE_NAME).read_text())["identity"]
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
    assert json.loads((folder / manifest.FILE_NAME).read_text())["model_digest"] == MODEL.model_digest
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == MODEL.model_digest


@pytest.mark.parametrize(
    "other",
    [
        replace(IDENTITY, weights_sha256="e" * 64),
        replace(IDENTITY, quick_gelu=False),
        replace(IDENTITY, preprocessing=replace(IDENTITY.preprocessing, crop="another")),
        replace(IDENTITY, tokenizer=replace(IDENTITY.tokenizer, sha256="e" * 64)),
    ],
    ids=["weights", "activation", "preprocessing", "tokenizer"],
)
def test_the_digest_covers_what_decides_a_vectors_meaning(other: Identity) -> None:
    assert other.digest != IDENTITY.digest


def test_the_digest_leaves_out_how_the_files_were_built() -> None:
    rebuilt = replace(MODEL, exporter={"torch": "3"}, files={}, engines={"base": ENGINE})
    assert rebuilt.model_digest == MODEL.model_digest


def test_the_manifests_own_hash_is_checked_when_given(folder: Path) -> None:
    sha256 = hashlib.sha256((folder / manifest.FILE_NAME).read_bytes()).hexdigest()
    assert manifest.load(folder, expected_sha256=sha256.upper()) == MODEL
    with pytest.raises(ModelError, match="not MODEL_MANIFEST_SHA256 0000"):
        manifest.load(folder, expected_sha256="0" * 64)


def test_a_missing_manifest_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read manifest\.json \(No such file or directory\)"):
        manifest.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"schema": 2}', "{}", "[" * 100_000])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / manifest.FILE_NAME).write_text(text)
    with pytest.raises(ModelError, match="is not a manifest of schema 1"):
        manifest.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("files"),
        lambda d: d.update(untrained="no"),
        lambda d: d.update(model_digest="0" * 16),
        lambda d: d.pop("model_digest"),
        lambda d: d["identity"].update(quick_gelu=1),
        lambda d: d["identity"].update(weights_sha256="short"),
        lambda d: d["identity"].update(embedding_dim=256),
        lambda d: d["identity"]["preprocessing"].update(mean=[1, 2]),
        lambda d: d["identity"]["tokenizer"].update(extra=1),
        lambda d: d["files"]["image.fp32.onnx"].update(sha256=None),
        lambda d: d["files"]["image.fp32.onnx"].update(parity={"min_cosine": 1}),
        lambda d: d["files"]["image.fp32.onnx"].update(parity={"min_cosine": "1", "max_abs": 0, "vectors": 1}),
        lambda d: d["files"]["image.fp32.onnx"].update(bytes="10"),
        lambda d: d["files"]["image.fp32.onnx"].update(tower=["image"]),
        lambda d: d["identity"]["preprocessing"].update(image_size="224"),
        lambda d: d["identity"]["preprocessing"].update(image_size=0),
        lambda d: d["identity"]["preprocessing"].update(mean=[10**400, 0, 0]),
        lambda d: d["identity"]["preprocessing"].update(std=[float("nan"), 1, 1]),
        lambda d: d["identity"]["tokenizer"].update(context_length=-1),
        lambda d: d["identity"]["tokenizer"].update({"a\nb": 1}),
        lambda d: d.update(schema="1" * 5000),
        lambda d: d["engines"]["base-sm89"].update(compute_capabilities=[float("inf")]),
        lambda d: d["engines"]["base-sm89"].update(precision="fp16\n"),
        lambda d: d["engines"]["base-sm89"]["plans"]["image"].update(file="a" * 5000),
        lambda d: d.update(model="../outside"),
        lambda d: d.update(pretrained="a\x00"),
    ],
)
def test_a_field_that_is_wrong_is_refused(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    spoil(folder, change)
    with pytest.raises(ModelError, match="is not a manifest of schema 1") as caught:
        manifest.load(folder)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "engines/../../x", "a//b", "", ".hidden", "a\\b", "a\n"])
def test_a_file_name_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    spoil(folder, lambda d: d["files"].update({name: d["files"]["image.fp32.onnx"]}))
    with pytest.raises(ModelError, match="is not a file name inside the folder"):
        manifest.load(folder)


def test_graphs_and_entries_are_found_by_what_they_are() -> None:
    assert MODEL.graph("image", "fp32") == "image.fp32.onnx"
    assert MODEL.entry("engines/base-sm89/image.plan").bytes == 20
    with pytest.raises(ModelError, match="no fp16 graph of the image tower"):
        MODEL.graph("image", "fp16")
    with pytest.raises(ModelError, match=r"does not list image\.plan"):
        MODEL.entry("image.plan")


def test_check_file_tells_whole_from_altered_and_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    entry = FileEntry(hashlib.sha256(b"abc").hexdigest(), 3)
    manifest.check_file(tmp_path, "file", entry)
    (tmp_path / "file").write_bytes(b"abd")
    with pytest.raises(ModelError, match="the manifest says"):
        manifest.check_file(tmp_path, "file", entry)
    with pytest.raises(ModelError, match="cannot read"):
        manifest.check_file(tmp_path, "other", entry)
