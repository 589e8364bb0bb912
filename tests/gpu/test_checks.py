"""The GPU tests' own checks, run without a GPU: on the driver's double they pass, and on a broken lane they fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export import reference
from export.progress import Progress
from heimdex_clip.encoder import golden, manifest
from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.encoder.gates import EXPORT_FP32, measure
from heimdex_clip.encoder.runtimes.trt_tower import TensorRtTower
from tests import tiny_model
from tests.gpu import checks, torch_side
from tests.heimdex_clip.encoder.runtimes import test_tensorrt as double
from tests.heimdex_clip.encoder.runtimes.gpu_double import FakeTensorRt, HostCuda

SIZES = [1, 2, 3, 4, 10]


class Stale(HostCuda):
    """A device whose graphs run nothing: what lies in the output's buffer is the answer of the run before."""

    def _cuGraphLaunch(self, executable: Any, stream: Any) -> int:  # noqa: N802 - the driver's own name
        return 0


@dataclass(frozen=True)
class Lane:
    """A TensorRT lane on the double, and its towers' own answers as the reference."""

    encoder: Encoder
    trt: FakeTensorRt

    def pictures(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.trt.towers["image"](pixels)

    def texts(self, words: Sequence[str]) -> NDArray[np.float32]:
        batch = self.encoder.load_text()[0](words)
        return self.trt.towers["text"](batch.ids, batch.eot)


def on(library: HostCuda, folder: Path, *, cuda_graphs: bool) -> Lane:
    tiny_model.build(folder)
    double.write(folder)
    trt = double.double(folder, library)
    return Lane(open_encoder(folder, lanes=[double.lane(trt, library, cuda_graphs=cuda_graphs)]), trt)


@pytest.mark.parametrize("cuda_graphs", [False, True], ids=["plain", "graphs"])
def test_a_good_lane_holds(tmp_path: Path, cuda_graphs: bool) -> None:
    library = HostCuda()
    lane = on(library, tmp_path / "tiny", cuda_graphs=cuda_graphs)
    for size in SIZES:
        checks.pictures_hold(lane.encoder, size, lane.pictures)
        checks.texts_hold(lane.encoder, size, lane.texts)
    assert bool(library.calls.count("cuGraphLaunch")) is cuda_graphs


@pytest.mark.parametrize(("size", "first_replay"), [(1, 1), (2, 2)])
def test_a_graph_that_replays_an_older_answer_does_not_hold(tmp_path: Path, size: int, first_replay: int) -> None:
    """The start's own test has run size 1 already."""
    lane = on(Stale(), tmp_path / "tiny", cuda_graphs=True)
    with pytest.raises(AssertionError, match=f"run {first_replay}: "):
        checks.pictures_hold(lane.encoder, size, lane.pictures)

    def until_a_length_comes_again() -> None:
        for _ in range(checks.RUNS):
            checks.texts_hold(lane.encoder, size, lane.texts)

    with pytest.raises(AssertionError, match="run "):
        until_a_length_comes_again()


@pytest.mark.parametrize("cuda_graphs", [False, True], ids=["plain", "graphs"])
def test_the_lanes_own_copies_hold(tmp_path: Path, cuda_graphs: bool) -> None:
    """The driver's calls, as the profiler would report them on a GPU."""
    folder = double_folder(tmp_path)
    copied: list[int] = []

    class Counting(HostCuda):
        def _cuMemcpyHtoDAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> None:  # noqa: N802
            copied.append(size.value)
            self._copy(to, source, size, stream)

    library = Counting()
    found = double.lane(double.double(folder, library), library, cuda_graphs=cuda_graphs)
    tower = found.open(folder, manifest.load(folder), "image")
    assert isinstance(tower, TensorRtTower)
    for size in (1, 2, 4):
        pixels = checks.photographs(size, tiny_model.SIZE)
        for _ in range(checks.RUNS):
            copied.clear()
            tower(pixels)
            checks.copies_hold(copied, pixels)


def double_folder(tmp_path: Path) -> Path:
    folder = tiny_model.build(tmp_path / "tiny")
    double.write(folder)
    return folder


@pytest.mark.parametrize("copies", [[], [602112], [150528, 150528], [150528, 9000], [150000]])
def test_copies_that_are_not_the_pixels_do_not_hold(copies: list[int]) -> None:
    pixels = np.zeros((1, 224, 224, 3), np.uint8)
    checks.copies_hold([150528, 64], pixels)
    with pytest.raises(AssertionError):
        checks.copies_hold(copies, pixels)


def test_copies_are_read_from_a_trace() -> None:
    """As the profiler writes it."""
    events = [
        {"ph": "X", "cat": "cpu_op", "name": "aten::copy_", "args": {}},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD (Pinned -> Device)", "args": {"bytes": 150528}},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoH (Device -> Pinned)", "args": {"bytes": 2048}},
        {"ph": "X", "cat": "kernel", "name": "a kernel", "args": {"stream": 7}},
        {"ph": "M", "name": "process_name", "args": {"name": "python"}},
    ]
    assert checks.copies_to_device({"traceEvents": events}) == [150528]


def test_the_profiler_is_asked_as_it_wants_to_be(tmp_path: Path) -> None:
    """Without a GPU it sees no copy, but its calls and its file are the same."""
    ran: list[int] = []
    assert torch_side.copies_during(lambda: ran.append(1), tmp_path) == []
    assert ran == [1]


def test_the_reference_is_the_exports(model_dir: Path, tmp_path: Path) -> None:
    stored = golden.load(model_dir)
    model = reference.load(manifest.load(model_dir), checkpoint=None, cache=tmp_path, progress=Progress())
    pictures = torch_side.image_vectors(model, stored.pixels[:2], "cpu")
    assert EXPORT_FP32.holds(measure(pictures, stored.image_embeddings[:2]))
    texts = torch_side.text_vectors(model, stored.texts[:2], "cpu")
    assert EXPORT_FP32.holds(measure(texts, stored.text_embeddings[:2]))
