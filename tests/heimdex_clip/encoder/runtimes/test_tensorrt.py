"""The engine lanes up to the device: every refusal, and the tower's profiles, parts and copies."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from heimdex_clip.encoder import engines, golden, manifest
from heimdex_clip.encoder.encoder import open_encoder
from heimdex_clip.encoder.engines import Engine, Plan
from heimdex_clip.encoder.gates import EXPORT_FP32, Parity, measure
from heimdex_clip.encoder.manifest import FileEntry, Manifest
from heimdex_clip.encoder.recovery import DeviceLost, OutOfDeviceMemory
from heimdex_clip.encoder.runtimes import trt_api
from heimdex_clip.encoder.runtimes.ort_cpu import open_graph
from heimdex_clip.encoder.runtimes.tensorrt import TensorRtLane
from heimdex_clip.encoder.runtimes.trt_tower import TensorRtTower
from heimdex_clip.errors import InferenceFailed, LaneUnavailable, ModelError
from tests import tiny_model
from tests.heimdex_clip.encoder.runtimes.gpu_double import FakeTensorRt, HostCuda, write_plan

PROFILES = ((2, 2, 2), (1, 2, 4))
FOLDER = "engines/tensorrt-sm86"
MEASURED = Parity(1.0, 0.0, 3)


@pytest.fixture
def folder(tiny: Path) -> Path:
    """The miniature with an engine: its graphs' own answers, behind TensorRT's calls."""
    write(tiny)
    return tiny


def write(folder: Path, changes: dict[str, object] | None = None, *, parity: Parity | None = MEASURED) -> None:
    """The plans (`changes` to the image's content) and the manifest that vouches for them."""
    model = manifest.load(folder)
    fp16 = {name: replace(entry, precision="fp16") for name, entry in model.files.items() if entry.precision}
    model = replace(model, files={**model.files, **fp16})
    files, plans = {}, {}
    for tower in ("image", "text"):
        shapes = [engines.input_shapes(model, tower, sizes) for sizes in PROFILES]
        inputs = {name: [one[name] for one in shapes] for name in shapes[0]}
        name = f"{FOLDER}/{tower}.plan"
        write_plan(folder / name, inputs, model.identity.embedding_dim, changes or {} if tower == "image" else {})
        data = (folder / name).read_bytes()
        files[name] = FileEntry(hashlib.sha256(data).hexdigest(), len(data))
        plans[tower] = Plan(name, engines.sources(model, tower), PROFILES, parity)
    engine = Engine("tensorrt", (86,), FakeTensorRt.__version__, "fp16", plans, "Host 9000" if parity else "")
    replace(model, files={**model.files, **files}, engines={"tensorrt-sm86": engine}).save(folder)


def double(folder: Path, library: HostCuda | None = None) -> FakeTensorRt:
    towers = {"image": open_graph(folder / tiny_model.IMAGE), "text": open_graph(folder / tiny_model.TEXT)}
    return FakeTensorRt(towers, library)


def lane(trt: FakeTensorRt, library: HostCuda | None = None, **options: Any) -> TensorRtLane:
    found = library or HostCuda()
    flavour = options.pop("flavour", "tensorrt")
    return TensorRtLane(flavour, driver=found.driver, api=lambda _: trt, missing=lambda _: None, **options)


def opened(folder: Path, trt: FakeTensorRt, library: HostCuda | None = None) -> TensorRtTower:
    tower = lane(trt, library).open(folder, manifest.load(folder), "image")
    assert isinstance(tower, TensorRtTower)
    return tower


def test_it_serves_what_the_reference_says(folder: Path) -> None:
    stored = golden.load(folder)
    encoder = open_encoder(folder, lanes=[lane(double(folder))])
    assert encoder.lane.name == "tensorrt"
    assert EXPORT_FP32.min_cosine <= measure(encoder.encode_pixels(stored.pixels), stored.image_embeddings).min_cosine
    vectors, _ = encoder.encode_texts(stored.texts)
    assert EXPORT_FP32.min_cosine <= measure(vectors, stored.text_embeddings).min_cosine
    assert encoder.lane.describe()["tensorrt_double"] == FakeTensorRt.__version__


@pytest.mark.parametrize(
    ("rows", "runs"),
    [(1, [(1, 1)]), (2, [(0, 2)]), (3, [(1, 3)]), (4, [(1, 4)]), (5, [(1, 4), (1, 1)]), (10, [(1, 4), (1, 4), (0, 2)])],
)
def test_a_batch_runs_in_the_narrowest_profile_and_in_parts(
    folder: Path, rows: int, runs: list[tuple[int, int]]
) -> None:
    trt = double(folder)
    tower = opened(folder, trt)
    pixels = np.random.default_rng(0).integers(0, 256, (rows, tiny_model.SIZE, tiny_model.SIZE, 3), np.uint8)
    np.testing.assert_allclose(tower(pixels), trt.towers["image"](pixels), rtol=1e-6)
    assert sorted((c.profile, shape[0]) for c in trt.contexts for shape in c.runs) == sorted(runs)
    assert len({context.profile for context in trt.contexts}) == len(trt.contexts)  # one a profile
    assert tower.buffers.sent_bytes == pixels.nbytes


def test_a_plan_is_not_touched_unless_its_hash_holds(folder: Path) -> None:
    path = folder / FOLDER / "image.plan"
    path.write_bytes(path.read_bytes() + b" ")
    trt = double(folder)
    with pytest.raises(ModelError, match=r"image.plan has sha256 .*; the manifest says"):
        open_encoder(folder, lanes=[lane(trt)])
    assert trt.loaded == []


def test_a_plan_that_is_not_shipped_passes_the_lane_over(folder: Path) -> None:
    (folder / FOLDER / "image.plan").unlink()
    with pytest.raises(LaneUnavailable, match=r"does not hold engines/tensorrt-sm86/image.plan"):
        open_encoder(folder, lanes=[lane(double(folder))])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"error": "Version tag does not match\nmore"}, r"cannot load .*image.plan \(Version tag does not match\)"),
        ({"error": " "}, "no reason given"),
        ({"raises": "not a plan"}, r"cannot load .*image.plan \(not a plan\)"),
        ({"types": {"pixels": "FLOAT", "embedding": "FLOAT"}}, "pixels is FLOAT, not UINT8"),
        ({"types": {"pixels": "UINT8", "embedding": "HALF"}}, "embedding is HALF, not FLOAT"),
        ({"types": {"images": "UINT8", "embedding": "FLOAT"}}, "has the tensors images, embedding, not pixels"),
        ({"inputs": {"pixels": [[[1, 8, 8, 3]] * 3]}}, "has 1 profiles, the manifest 2"),
        ({"inputs": {"pixels": [[[2, 8, 8, 3]] * 3, [[1, 8, 8, 3]] * 3]}}, "profile 1 of pixels is"),
    ],
)
def test_an_engine_that_is_not_what_the_manifest_says_is_refused(
    tiny: Path, changes: dict[str, object], reason: str
) -> None:
    write(tiny, changes)
    with pytest.raises(LaneUnavailable, match=reason) as raised:
        opened(tiny, double(tiny))
    assert "\n" not in str(raised.value)


def test_a_runtime_that_complains_when_it_is_made_is_given_no_plan(folder: Path) -> None:
    """TensorRT's lean runtime 10.16 without a usable driver: it says so, and crashes on the first plan."""
    trt = double(folder)
    trt.runtime_error = "Error Code 1: Cuda Runtime\nmore"
    with pytest.raises(LaneUnavailable, match=r"cannot load .*image.plan \(Error Code 1: Cuda Runtime\)"):
        opened(folder, trt)
    assert trt.loaded == []


def test_another_version_is_refused_before_the_plan_is_read(folder: Path) -> None:
    trt = double(folder)
    trt.__version__ = "10.16.2"  # of this instance
    with pytest.raises(LaneUnavailable, match=r"was built by TensorRT 10.16.1, and 10.16.2 is here"):
        opened(folder, trt)
    assert trt.loaded == []


def test_an_unmeasured_engine_must_pass_the_exports_gate_on_every_golden_vector(tiny: Path) -> None:
    write(tiny, parity=None)
    trt = double(tiny)
    encoder = open_encoder(tiny, lanes=[lane(trt)])
    encoder.load_text()
    stored = golden.load(tiny)
    assert encoder.report.parity["image"].vectors == len(stored.pixels) > 1
    assert encoder.report.parity["text"].vectors == len(stored.texts) > 1

    exact = trt.towers["image"]

    def off(*inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        vectors = exact(*inputs)
        across = np.roll(vectors, 1, axis=1)
        turned: NDArray[np.float32] = vectors + 0.03 * across / np.linalg.norm(across) * np.linalg.norm(vectors)
        return turned

    trt.towers["image"] = off
    with pytest.raises(LaneUnavailable, match=r"fails its self-test: .*; needed 0.9999"):
        open_encoder(tiny, lanes=[lane(trt)])
    write(tiny)  # the same deviation of an engine that was measured passes the start's wider gate
    assert open_encoder(tiny, lanes=[lane(trt)]).report.parity["image"].vectors == 1


@pytest.mark.parametrize(
    ("library", "flavour", "reason"),
    [
        (HostCuda(fail={"cuInit": 100}), "tensorrt", "no GPU is visible"),
        (HostCuda(capability=90), "tensorrt", "no tensorrt engine for this GPU's sm90, only sm86"),
        (HostCuda(), "tensorrt-rtx", "the manifest has no tensorrt-rtx engine"),
        (HostCuda(), "tensorrt", None),
    ],
)
def test_why_it_cannot_run_here(folder: Path, library: HostCuda, flavour: str, reason: str | None) -> None:
    found = lane(double(folder), library, flavour=flavour).unavailable(manifest.load(folder))
    assert (found is None) if reason is None else (reason in (found or ""))


def test_a_missing_package_is_the_first_reason(folder: Path) -> None:
    found = TensorRtLane("tensorrt", missing=lambda _: "no such package").unavailable(manifest.load(folder))
    assert found == "no such package"


def test_a_refused_execution_asks_the_stream_what_happened(folder: Path) -> None:
    trt, library = double(folder), HostCuda()
    tower = opened(folder, trt, library)
    pixels = golden.load(folder).pixels[:1]
    tower(pixels)
    trt.contexts[0].refuses = True
    with pytest.raises(InferenceFailed) as raised:
        tower(pixels)
    assert type(raised.value) is InferenceFailed
    library.fail["cuStreamSynchronize"] = 719
    with pytest.raises(DeviceLost, match="719"):
        tower(pixels)


def test_what_rtx_compiled_is_kept_for_the_next_process(tiny: Path, tmp_path: Path) -> None:
    rtx_folder(tiny)
    cache = tmp_path / "a" / "cache"
    for expected in (b"+", b"++"):
        trt = double(tiny)
        tower = lane(trt, flavour="tensorrt-rtx", cache=cache).open(tiny, manifest.load(tiny), "image")
        pixels = golden.load(tiny).pixels[:1]
        tower(pixels)
        tower(pixels)  # a shape that was seen compiles nothing
        (file,) = cache.iterdir()
        assert file.read_bytes() == expected
    assert "Host-9000" in file.name


def test_a_cache_that_cannot_be_written_is_done_without(tiny: Path, tmp_path: Path) -> None:
    rtx_folder(tiny)
    (tmp_path / "file").write_text("in the way")
    trt = double(tiny)
    tower = lane(trt, flavour="tensorrt-rtx", cache=tmp_path / "file" / "cache").open(
        tiny, manifest.load(tiny), "image"
    )
    stored = golden.load(tiny)
    assert measure(tower(stored.pixels), stored.image_embeddings).min_cosine > 1 - 1e-6


def rtx_folder(folder: Path) -> None:
    write(folder)
    model: Manifest = manifest.load(folder)
    (engine,) = model.engines.values()
    replace(model, engines={"rtx": replace(engine, flavour="tensorrt-rtx")}).save(folder)


def test_with_cuda_graphs_every_later_run_of_a_fixed_size_is_one_launch(folder: Path) -> None:
    library = HostCuda()
    trt, stored = double(folder, library), golden.load(folder)
    found = lane(trt, library, cuda_graphs=True)
    tower = found.open(folder, manifest.load(folder), "image")
    for rows in (2, 1, 2, 1, 1, 2):
        np.testing.assert_allclose(tower(stored.pixels[:rows]), stored.image_embeddings[:rows], rtol=1e-4)
    assert library.calls.count("cuGraphLaunch") == 4
    assert [context.enqueued for context in trt.contexts] == [2, 2]  # a plain run and the capture each
    assert found.describe()["cuda_graphs_image"] == "2 captured"
    assert tower(stored.pixels[:3]).shape == (3, 5)  # no fixed size
    assert found.describe()["cuda_graphs_image"] == "2 captured"


def test_without_cuda_graphs_nothing_is_captured(folder: Path) -> None:
    library = HostCuda()
    found = lane(double(folder, library), library)
    found.open(folder, manifest.load(folder), "image")(golden.load(folder).pixels[:1])
    assert not [call for call in library.calls if "Graph" in call or "Capture" in call]
    assert not [key for key in found.describe() if "graph" in key]


def test_a_buffer_that_grows_takes_its_graphs_along(folder: Path) -> None:
    library = HostCuda()
    trt, model = double(folder, library), manifest.load(folder)
    tower, plain = lane(trt, library, cuda_graphs=True).open(folder, model, "text"), trt.towers["text"]
    short = np.ones((1, 8), np.int64), np.array([3], np.int64)
    long = np.ones((4, 16), np.int64), np.array([3, 4, 5, 6], np.int64)
    for inputs in (short, short, long, long, short, short):
        np.testing.assert_allclose(tower(*inputs), plain(*inputs), rtol=1e-5)
    assert library.calls.count("cuGraphExecDestroy") == 1
    assert len(library.executables) == 2
    assert library.calls.count("cuGraphLaunch") == 3
    assert len({(context.profile, tuple(context.shapes.items())) for context in trt.contexts}) == 2


def test_a_shape_that_cannot_be_captured_is_served_without(folder: Path) -> None:
    library = HostCuda(fail={"cuGraphInstantiateWithFlags": 801})
    stored, found = golden.load(folder), lane(double(folder, library), library, cuda_graphs=True)
    tower = found.open(folder, manifest.load(folder), "image")
    for _ in range(3):
        np.testing.assert_allclose(tower(stored.pixels[:1]), stored.image_embeddings[:1], rtol=1e-4)
    assert library.calls.count("cuStreamBeginCapture_v2") == 1
    assert isinstance(tower, TensorRtTower)
    assert [shapes for _, shapes in tower._contexts] == [()]
    assert found.describe()["cuda_graphs_image"].startswith("0 captured; not 1x8x8x3: The encoder failed (CUDA error 8")


def test_a_shape_without_memory_for_its_context_shares_the_profiles(folder: Path) -> None:
    library = HostCuda()
    trt, model = double(folder, library), manifest.load(folder)
    found = lane(trt, library, cuda_graphs=True)
    tower, stored = found.open(folder, model, "image"), golden.load(folder)
    tower(np.concatenate([stored.pixels[:1]] * 3))  # no fixed size: the context of the wide profile
    trt.most_contexts = 1
    for _ in range(2):
        np.testing.assert_allclose(tower(stored.pixels[:1]), stored.image_embeddings[:1], rtol=1e-4)
    assert found.describe()["cuda_graphs_image"] == "0 captured; not 1x8x8x3: no memory for a context of its own"
    assert "cuStreamBeginCapture_v2" not in library.calls
    trt.contexts.clear()
    trt.most_contexts = 0
    with pytest.raises(OutOfDeviceMemory):  # not even the profile's own
        tower(stored.pixels[:2])


@pytest.mark.parametrize("cached", [True, False])
def test_rtx_captures_by_itself(tiny: Path, tmp_path: Path, cached: bool) -> None:
    rtx_folder(tiny)
    library = HostCuda()
    trt = double(tiny, library)
    found = lane(trt, library, flavour="tensorrt-rtx", cuda_graphs=True, cache=tmp_path / "cache" if cached else None)
    tower = found.open(tiny, manifest.load(tiny), "image")
    pixels = golden.load(tiny).pixels[:1]
    tower(pixels)
    tower(pixels)
    (context,) = trt.contexts
    (config,) = context.engine.configurations
    assert config.cuda_graph_strategy == trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    assert "cuStreamBeginCapture_v2" not in library.calls
    assert found.describe()["cuda_graphs"] == "by TensorRT-RTX"


def test_rtx_has_the_strategy_that_the_lane_sets() -> None:
    """Of the package itself: the double's names are TensorRT-RTX's."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has wheels for x86_64 only")
    assert rtx.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE != rtx.CudaGraphStrategy.DISABLED
    assert isinstance(rtx.IRuntimeConfig.cuda_graph_strategy, property)


def test_real_tensorrt_answers_a_plan_it_cannot_load_with_one_line() -> None:
    """Rubbish for TensorRT-RTX itself: it gives None and logs the reason, with or without a GPU."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has wheels for x86_64 only")
    trt = trt_api.runtime("tensorrt-rtx")
    with pytest.raises(LaneUnavailable, match=r"TensorRT .* cannot load image.plan \(.+\)") as raised:
        trt_api.deserialise(trt, b"no plan" * 100, "image.plan")
    assert "\n" not in str(raised.value)


def test_what_is_not_installed_says_how_to_get_it() -> None:
    if trt_api.missing_runtime("tensorrt") is None:
        pytest.skip("TensorRT is installed here")
    with pytest.raises(LaneUnavailable, match=r"tensorrt_lean_bindings is not installed"):
        trt_api.runtime("tensorrt")
    with pytest.raises(LaneUnavailable, match=r"pip install 'tensorrt==10.16.\*'"):
        trt_api.builder("tensorrt")
