"""Real TensorRT-RTX engines, built without a GPU from exported graphs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export import engine
from export.__main__ import main
from export.engine import Device
from export.engine_build import Target, build, known_capabilities
from export.progress import Progress
from heimdex_clip.encoder import engines, manifest
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.runtimes import cuda_driver, trt_api
from heimdex_clip.encoder.runtimes.base import Tower, TowerName
from heimdex_clip.encoder.runtimes.ort_cpu import OrtCpuLane
from heimdex_clip.encoder.runtimes.tensorrt import TensorRtLane
from heimdex_clip.errors import LaneUnavailable, ModelError, SettingsError
from tests.heimdex_clip.encoder.runtimes.gpu_double import HostCuda

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has wheels for x86_64 only")

RTX = Target("tensorrt-rtx", (86, 89))
PLANS = "engines/tensorrt-rtx-sm86-sm89"


@pytest.fixture(scope="module")
def trt() -> Any:
    return trt_api.builder("tensorrt-rtx")


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """The miniature of the real architecture, free to be changed."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


class Turned(OrtCpuLane):
    """A lane whose vectors are not the reference's."""

    def open(self, folder: Path, manifest: Manifest, tower: TowerName) -> Tower:
        run = super().open(folder, manifest, tower)

        def turned(*inputs: NDArray[np.generic]) -> NDArray[np.float32]:
            return np.roll(run(*inputs), 1, axis=1)

        return turned


def test_the_engine_is_recorded_as_it_was_built(folder: Path, trt: Any, progress: Progress) -> None:
    before = manifest.load(folder)
    made = engine.make(folder, trt, RTX, None, progress)
    model = manifest.load(folder)
    assert model.engines == {"tensorrt-rtx-sm86-sm89": made}
    assert model.model_digest == before.model_digest
    assert (made.tensorrt, made.precision, made.measured_on) == (trt.__version__, "fp16", "")
    for tower, plan in made.plans.items():
        assert plan.parity is None
        assert plan.profiles == ((1, 8, 64),)
        assert plan.onnx_sha256 == engines.sources(model, tower)
        manifest.check_file(folder, plan.file, model.entry(plan.file))
    assert (
        json.loads((folder / "manifest.json").read_text())["engines"]["tensorrt-rtx-sm86-sm89"]["plans"]["image"][
            "parity"
        ]
        is None
    )
    assert sorted(path.name for path in (folder / "engines").iterdir()) == ["tensorrt-rtx-sm86-sm89"]


def test_a_lane_finds_it_and_tensorrt_itself_reads_it(folder: Path, trt: Any, progress: Progress) -> None:
    """Where no GPU is, TensorRT-RTX gets as far as asking for one; rubbish it refuses before."""
    engine.make(folder, trt, RTX, None, progress)
    model = manifest.load(folder)
    lane = TensorRtLane("tensorrt-rtx", driver=HostCuda(capability=89).driver)
    assert lane.unavailable(model) is None
    assert "only sm86, sm89" in (
        TensorRtLane("tensorrt-rtx", driver=HostCuda(capability=90).driver).unavailable(model) or ""
    )
    if isinstance(cuda_driver.probe(), str):
        with pytest.raises(LaneUnavailable, match=r"cannot load .*image.plan \(.*(CUDA|Cuda)"):
            lane.open(folder, model, "image")


def test_an_engine_of_older_graphs_is_refused_after_a_new_export(folder: Path, trt: Any, progress: Progress) -> None:
    engine.make(folder, trt, RTX, None, progress)
    model = manifest.load(folder)
    entry = replace(model.entry("text.fp16.onnx"), sha256="0" * 64)
    changed = replace(model, files={**model.files, "text.fp16.onnx": entry})
    lane = TensorRtLane("tensorrt-rtx", driver=HostCuda(capability=86).driver)
    assert "was built from another graph" in (lane.unavailable(changed) or "")


def test_where_the_device_is_its_parity_is_recorded(folder: Path, trt: Any, progress: Progress) -> None:
    made = engine.make(folder, trt, RTX, Device("A GPU", OrtCpuLane()), progress)
    assert made.measured_on == "A GPU"
    for plan in made.plans.values():
        assert plan.parity is not None
        assert plan.parity.vectors == sum(engines.FIXED_SIZES)
    assert engines.measured(manifest.load(folder), "tensorrt-rtx")


def test_one_that_fails_the_gate_leaves_the_folder_as_it_was(folder: Path, trt: Any, progress: Progress) -> None:
    engine.make(folder, trt, RTX, None, progress)
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(ModelError, match="the engine is not recorded: "):
        engine.make(folder, trt, RTX, Device("A GPU", Turned()), progress)
    assert (folder / "manifest.json").read_bytes() == before
    model = manifest.load(folder)
    for tower in engine.TOWERS:
        manifest.check_file(folder, f"{PLANS}/{tower}.plan", model.entry(f"{PLANS}/{tower}.plan"))
    assert sorted(path.name for path in (folder / "engines").iterdir()) == ["tensorrt-rtx-sm86-sm89"]


def test_an_altered_graph_is_not_built(folder: Path, trt: Any, progress: Progress) -> None:
    model = manifest.load(folder)
    (name, *_) = model.graph_files("image", "fp16")[::-1]
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError, match="the manifest says"):
        engine.make(folder, trt, RTX, None, progress)
    assert list((folder / "engines").iterdir()) == []


def test_a_graph_of_another_form_is_refused(folder: Path, trt: Any, progress: Progress) -> None:
    shapes = engines.input_shapes(manifest.load(folder), "text", (1, 8, 64))
    with pytest.raises(ModelError, match=r"has the inputs and outputs .*pixels.*UINT8"):
        build(trt, folder / "image.fp16.onnx", (shapes,), RTX, progress)


def test_what_cannot_be_read_is_one_line(tmp_path: Path, trt: Any, progress: Progress) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"TensorRT cannot read .*x.onnx: ") as raised:
        build(trt, tmp_path / "x.onnx", ({"pixels": ((1,), (1,), (1,))},), RTX, progress)
    assert "\n" not in str(raised.value)


def test_an_unknown_capability_is_a_settings_error(folder: Path, trt: Any, progress: Progress) -> None:
    assert {86, 89, 120} <= set(known_capabilities(trt))
    with pytest.raises(SettingsError, match="--sm 90: TensorRT-RTX builds for "):
        engine.make(folder, trt, Target("tensorrt-rtx", (90,)), None, progress)


def test_the_real_models_image_tower_becomes_an_engine(model_dir: Path, trt: Any, progress: Progress) -> None:
    model = manifest.load(model_dir)
    shapes = tuple(engines.input_shapes(model, "image", sizes) for sizes in engines.default_profiles("tensorrt-rtx"))
    plan = build(trt, model_dir / model.graph("image", "fp16"), shapes, RTX, progress)
    sources = sum(model.entry(file).bytes for file in model.graph_files("image", "fp16"))
    assert sources < len(plan) < 1.2 * sources


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--flavour", "tensorrt", "--sm", "86"], "only tensorrt-rtx can choose"),
        (["--flavour", "tensorrt-rtx", "--sm", "90"], "--sm 90: TensorRT-RTX builds for 75, 80, 86"),
    ],
)
def test_the_command_says_in_one_line_what_cannot_be(
    folder: Path, arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engine", str(folder), *arguments]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert reason in last


def test_tensorrt_without_a_gpu_or_builder_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not isinstance(cuda_driver.probe(), str):
        pytest.skip("a GPU is here")
    assert main(["engine", str(folder), "--flavour", "tensorrt"]) == 2
    assert "error: tensorrt builds for the GPU that is there: " in capsys.readouterr().err


def test_the_command_builds_records_and_says_that_parity_was_not_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engine", str(folder), "--flavour", "tensorrt-rtx", "--sm", "89,86,89"]) == 0
    assert manifest.load(folder).engines.keys() == {"tensorrt-rtx-sm86-sm89"}
    out = capsys.readouterr().out
    if isinstance(cuda_driver.probe(), str):
        assert out.count("parity: not measured (") == 2


def test_tensorrts_own_settings_are_asked_for(tmp_path: Path, progress: Progress) -> None:
    """What only a GPU can build, as far as the calls: lean runtime, compatibility, timings kept for the next build."""
    double = BuilderDouble()
    cache = tmp_path / "cache" / "timings"
    target = Target("tensorrt", (86,), cache)
    plan = build(double, tmp_path / "image.fp16.onnx", ({"pixels": ((1,), (2,), (3,))},), target, progress)
    assert plan == b"plan"
    assert double.config.flags == ["VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"]
    assert double.config.hardware_compatibility_level == "SAME_COMPUTE_CAPABILITY"
    assert double.network_flags == 1 << 3
    assert cache.read_bytes() == b"+"
    build(double, tmp_path / "image.fp16.onnx", ({"pixels": ((1,), (2,), (3,))},), target, progress)
    assert cache.read_bytes() == b"++"


class BuilderDouble:
    """TensorRT's builder, for the calls that its full package alone has a GPU for."""

    __version__ = "10.16.1"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=3)
    BuilderFlag = SimpleNamespace(VERSION_COMPATIBLE="VERSION_COMPATIBLE", EXCLUDE_LEAN_RUNTIME="EXCLUDE_LEAN_RUNTIME")
    HardwareCompatibilityLevel = SimpleNamespace(SAME_COMPUTE_CAPABILITY="SAME_COMPUTE_CAPABILITY")

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1)

    class IProgressMonitor:
        pass

    def __init__(self) -> None:
        self.network_flags = -1

    def Builder(self, _log: object) -> Any:  # noqa: N802 - TensorRT's own name
        self.config = SimpleNamespace(flags=[], profiles=[])
        self.config.set_flag = self.config.flags.append
        self.config.add_optimization_profile = self.config.profiles.append
        self.config.create_timing_cache = lambda kept: SimpleNamespace(serialize=lambda: kept + b"+")
        self.config.set_timing_cache = lambda timings, ignore_mismatch: None
        return SimpleNamespace(
            create_network=self._network,
            create_builder_config=lambda: self.config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=lambda *_: None),
            build_serialized_network=lambda network, config: b"plan",
        )

    def _network(self, flags: int) -> Any:
        self.network_flags = flags
        ends = {"pixels": "UINT8", "embedding": "FLOAT"}
        tensors = [SimpleNamespace(name=name, dtype=SimpleNamespace(name=kind)) for name, kind in ends.items()]
        return SimpleNamespace(
            num_inputs=1, num_outputs=1, get_input=lambda _: tensors[0], get_output=lambda _: tensors[1]
        )

    def OnnxParser(self, _network: object, _log: object) -> Any:  # noqa: N802 - TensorRT's own name
        return SimpleNamespace(parse_from_file=lambda _: True)
