from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heimdex_clip.encoder import manifest, runtimes
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.runtimes.ort_cpu import OrtCpuLane
from heimdex_clip.errors import InferenceFailed, LaneUnavailable, ModelError, SettingsError
from tests import tiny_model


def without(model: Manifest, name: str) -> Manifest:
    return replace(model, files={key: entry for key, entry in model.files.items() if key != name})


@pytest.fixture
def model(tiny: Path) -> Manifest:
    return manifest.load(tiny)


def test_every_lane_can_be_named() -> None:
    assert {runtimes.AUTO, *(lane.name for lane in runtimes.LANES)} == set(runtimes.CHOICES)
    assert len(runtimes.CHOICES) == 1 + len(runtimes.LANES)


def test_auto_offers_every_lane_with_a_reason_or_none(model: Manifest) -> None:
    found = list(runtimes.candidates("auto", model, auto_may_use_cpu=True))
    assert [lane.name for lane, _ in found] == [lane.name for lane in runtimes.LANES]
    assert found[-1][0].name == "cpu"
    assert found[-1][1] is None


def test_auto_passes_the_cpu_over_where_it_may_not_have_it(model: Manifest) -> None:
    reasons = {lane.name: why for lane, why in runtimes.candidates("auto", model, auto_may_use_cpu=False)}
    assert "WORKER_RUNTIME=cpu" in (reasons["cpu"] or "")


def test_a_named_lane_is_the_only_one_even_the_cpu(model: Manifest) -> None:
    found = list(runtimes.candidates("cpu", model, auto_may_use_cpu=False))
    assert [(lane.name, reason) for lane, reason in found] == [("cpu", None)]


def test_a_named_lane_that_cannot_run_is_an_error_not_another_lane(model: Manifest) -> None:
    with pytest.raises(LaneUnavailable, match=r"WORKER_RUNTIME=cpu: .*no fp32 graph of the image tower"):
        list(runtimes.candidates("cpu", without(model, tiny_model.IMAGE), auto_may_use_cpu=True))


@pytest.mark.parametrize("name", ["", "CPU", "gpu9", "auto "])
def test_an_unknown_name_is_a_settings_error(model: Manifest, name: str) -> None:
    with pytest.raises(SettingsError, match="must be one of auto, "):
        list(runtimes.candidates(name, model, auto_may_use_cpu=True))


def test_the_cpu_lane_names_the_files_it_reads(model: Manifest) -> None:
    assert OrtCpuLane().files(model, "image") == (tiny_model.IMAGE,)
    assert OrtCpuLane().files(model, "text") == (tiny_model.TEXT,)
    with pytest.raises(ModelError, match="no fp32 graph of the text tower"):
        OrtCpuLane().files(without(model, tiny_model.TEXT), "text")


def test_the_cpu_lane_describes_itself() -> None:
    found = OrtCpuLane().describe()
    assert int(found["threads"]) >= 1
    assert found["onnxruntime"]


@pytest.mark.parametrize("content", [b"", b"no graph at all"])
def test_a_graph_that_cannot_be_opened_is_one_line(tiny: Path, model: Manifest, content: bytes) -> None:
    (tiny / tiny_model.IMAGE).write_bytes(content)
    with pytest.raises((LaneUnavailable, ModelError)) as raised:
        OrtCpuLane().open(tiny, model, "image")
    assert tiny_model.IMAGE in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((1, 3, 3, 3), np.uint8), np.zeros((1, tiny_model.SIZE, tiny_model.SIZE, 3), np.float32)],
    ids=["shape", "type"],
)
def test_input_that_the_graph_refuses_is_a_failed_inference(
    tiny: Path, model: Manifest, pixels: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
) -> None:
    tower = OrtCpuLane().open(tiny, model, "image")
    with pytest.raises(InferenceFailed, match=r"The encoder failed \("):
        tower(pixels)
