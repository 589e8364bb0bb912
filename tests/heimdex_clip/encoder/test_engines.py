from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heimdex_clip.encoder import engines, manifest
from heimdex_clip.encoder.engines import Engine, Plan
from heimdex_clip.encoder.gates import Parity
from heimdex_clip.encoder.manifest import FileEntry, Manifest
from heimdex_clip.errors import LaneUnavailable, ModelError

GRAPHS = {"image.fp16.onnx": "image", "text.fp16.onnx": "text"}


def plan(tower: str) -> Plan:
    return Plan(f"engines/x/{tower}.plan", {f"{tower}.fp16.onnx": "a" * 64}, ((1, 8, 64),), Parity(1.0, 0.0, 4))


ENGINE = Engine("tensorrt", (86, 89), "10.16.1", "fp16", {"image": plan("image"), "text": plan("text")}, "A5000")


@pytest.fixture
def model(tiny: Path) -> Manifest:
    found = manifest.load(tiny)
    graphs = {name: FileEntry("a" * 64, 1, tower, "fp16", 18) for name, tower in GRAPHS.items()}
    return replace(found, files={**found.files, **graphs}, engines={"tensorrt-sm86-sm89": ENGINE})


def with_engine(model: Manifest, **changes: Any) -> Manifest:
    return replace(model, engines={"x": replace(ENGINE, **changes)})


def test_the_engine_for_the_device_is_found(model: Manifest) -> None:
    assert engines.fit(model, "tensorrt", 89) == ENGINE


@pytest.mark.parametrize(
    ("change", "flavour", "capability", "reason"),
    [
        (lambda m: replace(m, engines={}), "tensorrt", 86, "the manifest has no tensorrt engine"),
        (lambda m: m, "tensorrt-rtx", 86, "the manifest has no tensorrt-rtx engine"),
        (lambda m: m, "tensorrt", 90, "for this GPU's sm90, only sm86, sm89"),
        (lambda m: with_engine(m, precision="fp32"), "tensorrt", 86, "is fp32, not fp16"),
        (lambda m: with_engine(m, plans={"image": plan("image")}), "tensorrt", 86, "no plan of the text tower"),
        (
            lambda m: with_engine(
                m, plans={**ENGINE.plans, "text": replace(plan("text"), onnx_sha256={"text.fp16.onnx": "b" * 64})}
            ),
            "tensorrt",
            86,
            r"text.plan was built from another graph than text.fp16.onnx",
        ),
    ],
)
def test_what_does_not_hold_is_the_reason(
    model: Manifest, change: Callable[[Manifest], Manifest], flavour: str, capability: int, reason: str
) -> None:
    with pytest.raises(LaneUnavailable, match=reason):
        engines.fit(change(model), flavour, capability)


def test_weights_beside_the_graph_count_too(model: Manifest) -> None:
    files = {**model.files, "image.fp16.onnx.data": FileEntry("c" * 64, 9)}
    with pytest.raises(LaneUnavailable, match="another graph"):
        engines.fit(replace(model, files=files), "tensorrt", 86)


def test_only_engines_may_be_unmeasured(model: Manifest) -> None:
    assert engines.measured(model, "tensorrt")
    assert engines.measured(model, "cpu")
    unmeasured = {**ENGINE.plans, "text": replace(plan("text"), parity=None)}
    assert not engines.measured(with_engine(model, plans=unmeasured), "tensorrt")
    assert engines.measured(with_engine(model, plans=unmeasured), "cuda")


def test_profiles_cover_every_batch_and_text_length(model: Manifest) -> None:
    for flavour in engines.FLAVOURS:
        assert engines.default_profiles(flavour)[-1] == (1, 8, 64)
    exact = engines.default_profiles("tensorrt")[:-1]
    assert [size for size, _, _ in exact] == list(engines.FIXED_SIZES)
    shapes = engines.input_shapes(model, "text", (1, 8, 64))
    assert shapes == {
        "ids": ((1, 2), (8, 16), (64, model.identity.tokenizer.context_length)),
        "eot": ((1,), (8,), (64,)),
    }
    assert engines.input_shapes(model, "image", (2, 2, 2)) == {"pixels": ((2, 8, 8, 3),) * 3}


def test_it_is_read_as_it_was_saved(model: Manifest, tmp_path: Path) -> None:
    model.save(tmp_path)
    assert manifest.load(tmp_path) == model


@pytest.mark.parametrize(
    "change",
    [
        lambda engine: engine.update(flavour="onnx"),
        lambda engine: engine.pop("tensorrt"),
        lambda engine: engine["plans"]["image"].update(onnx_sha256={"image.fp16.onnx": "short"}),
        lambda engine: engine["plans"]["image"].update(onnx_sha256={}),
        lambda engine: engine["plans"]["image"].update(profiles=[[1, 8]]),
        lambda engine: engine.update(plans=[]),
    ],
)
def test_a_malformed_section_is_one_line(
    model: Manifest, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    model.save(tmp_path)
    path = tmp_path / manifest.FILE_NAME
    document = json.loads(path.read_text())
    change(document["engines"]["tensorrt-sm86-sm89"])
    path.write_text(json.dumps(document))
    with pytest.raises(ModelError, match="is not a manifest of schema") as raised:
        manifest.load(tmp_path)
    assert "\n" not in str(raised.value)
