from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from heimdex_clip.encoder import golden, manifest, recovery, tokenizer
from heimdex_clip.encoder.encoder import Encoder, StartReport, open_encoder, usable
from heimdex_clip.encoder.gates import EXPORT_FP32, measure
from heimdex_clip.encoder.golden import Golden
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.runtimes.base import Tower, TowerName
from heimdex_clip.encoder.runtimes.ort_cpu import OrtCpuLane
from heimdex_clip.errors import LaneUnavailable, ModelError
from tests import tiny_model


def test_vectors_are_the_references(tiny: Path) -> None:
    encoder, stored = open_encoder(tiny), golden.load(tiny)
    assert encoder.image_size == tiny_model.SIZE
    assert encoder.lane.name == "cpu"
    assert measure(encoder.encode_pixels(stored.pixels), stored.image_embeddings).min_cosine > 1 - 1e-6
    vectors, truncated = encoder.encode_texts(["b", *stored.texts])
    assert measure(vectors[1:], stored.text_embeddings).min_cosine > 1 - 1e-6
    assert truncated == (False, False, True)


def test_opening_reports_what_it_found(tiny: Path) -> None:
    report = open_encoder(tiny).report
    assert set(report.passed_over) == {"tensorrt", "tensorrt-rtx", "cuda"}
    assert set(report.steps_ms) == {"manifest", "image_tower", "self_test"}
    assert report.parity["image"].min_cosine > 0.999


def test_the_text_tower_waits_until_it_is_needed(tiny: Path) -> None:
    encoder = open_encoder(tiny)
    assert not encoder.text_ready
    first = encoder.load_text()
    assert encoder.text_ready
    assert encoder.load_text() is first
    assert encoder.report.parity["text"].min_cosine > 0.999
    assert "text_tower" in encoder.report.steps_ms


def test_the_text_tower_is_loaded_once_by_threads_that_come_together(tiny: Path) -> None:
    encoder, start = open_encoder(tiny), threading.Barrier(4)

    def load(_: int) -> object:
        start.wait(10)
        return encoder.load_text()

    with ThreadPoolExecutor(4) as pool:
        assert len({id(loaded) for loaded in pool.map(load, range(4))}) == 1


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A folder of the same form with other weights: its files can be read, but they are not the manifest's."""
    return tiny_model.build(tmp_path / "other", seed=1)


@pytest.mark.parametrize("name", [tiny_model.IMAGE, golden.FILE_NAME])
def test_an_altered_file_is_never_served(tiny: Path, other: Path, name: str) -> None:
    (tiny / name).write_bytes((other / name).read_bytes())
    with pytest.raises(ModelError, match="the manifest says"):
        open_encoder(tiny, runtime="cpu")


def test_an_altered_text_tower_is_found_when_texts_are_wanted(tiny: Path, other: Path) -> None:
    encoder = open_encoder(tiny)
    (tiny / tiny_model.TEXT).write_bytes((other / tiny_model.TEXT).read_bytes())
    with pytest.raises(ModelError, match="the manifest says"):
        encoder.encode_texts(["a cat"])
    assert not encoder.text_ready


def test_an_altered_tokenizer_is_found_when_texts_are_wanted(tiny: Path) -> None:
    encoder = open_encoder(tiny)
    path = tiny / tokenizer.FILE_NAME
    path.write_text(path.read_text() + " ")
    with pytest.raises(ModelError, match="the manifest says"):
        encoder.encode_texts(["a cat"])


def test_a_manifest_other_than_the_expected_is_refused(tiny: Path) -> None:
    with pytest.raises(ModelError, match="MODEL_MANIFEST_SHA256"):
        open_encoder(tiny, expected_manifest_sha256="0" * 64)


def test_the_caller_may_refuse_the_manifest_before_anything_is_loaded(tiny: Path) -> None:
    (tiny / tiny_model.IMAGE).unlink()

    def refuse(model: Manifest) -> None:
        raise ModelError(f"not {model.pretrained}")

    with pytest.raises(ModelError, match="not untrained-0"):
        open_encoder(tiny, accept=refuse)


def turn_round(stored: Golden) -> Golden:
    return replace(stored, image_embeddings=-stored.image_embeddings, text_embeddings=-stored.text_embeddings)


def test_a_lane_that_fails_its_self_test_is_refused(tiny: Path) -> None:
    tiny_model.change_golden(tiny, turn_round)
    with pytest.raises(LaneUnavailable, match=r"no runtime can serve .*cpu.*fails its self-test"):
        open_encoder(tiny)


def test_a_text_tower_that_fails_its_self_test_is_refused(tiny: Path) -> None:
    tiny_model.change_golden(tiny, lambda stored: replace(stored, text_embeddings=-stored.text_embeddings))
    encoder = open_encoder(tiny)
    with pytest.raises(LaneUnavailable, match="fails its self-test"):
        encoder.encode_texts(["a cat"])


class FixedSizes(OrtCpuLane):
    """The CPU lane as a GPU lane would be run: in a few fixed batch sizes. Notes the sizes it was given."""

    batch_sizes: tuple[int, ...] = (1, 2, 4)
    max_batch = 4

    def __init__(self) -> None:
        self.seen: list[int] = []

    def open(self, folder: Path, manifest: Manifest, tower: TowerName) -> Tower:
        run = super().open(folder, manifest, tower)

        def noted(*inputs: NDArray[np.generic]) -> NDArray[np.float32]:
            self.seen.append(len(inputs[0]))
            return run(*inputs)

        return noted


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1]), (2, [2]), (3, [4]), (4, [4]), (5, [4, 1]), (11, [4, 4, 4])])
def test_a_batch_is_parted_and_padded_to_fixed_sizes_and_put_together_again(
    tiny: Path, rows: int, sizes: list[int]
) -> None:
    lane, model = FixedSizes(), manifest.load(tiny)
    encoder = Encoder(tiny, model, lane, lane.open(tiny, model, "image"), StartReport())
    pixels = np.random.default_rng(0).integers(0, 256, (rows, tiny_model.SIZE, tiny_model.SIZE, 3), np.uint8)
    vectors = encoder.encode_pixels(pixels)
    assert lane.seen == sizes
    assert len(vectors) == rows
    assert EXPORT_FP32.min_cosine <= measure(vectors, open_encoder(tiny).encode_pixels(pixels)).min_cosine


class Failing:
    """A tower that has room for `room` rows, and for none once it is lost. Counts its runs."""

    def __init__(self, run: Tower, room: int) -> None:
        self._run = run
        self.room = room
        self.runs = 0

    def __call__(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        self.runs += 1
        if len(inputs[0]) > self.room:
            raise recovery.from_message("out of memory", "RuntimeException")
        return self._run(*inputs)


def failing(folder: Path, room: int) -> tuple[Encoder, Failing]:
    lane, model = OrtCpuLane(), manifest.load(folder)
    tower = Failing(lane.open(folder, model, "image"), room)
    return Encoder(folder, model, lane, tower, StartReport()), tower


def test_a_batch_that_the_device_has_no_memory_for_is_run_in_halves(tiny: Path) -> None:
    encoder, tower = failing(tiny, room=2)
    stored = golden.load(tiny)
    assert measure(encoder.encode_pixels(stored.pixels), stored.image_embeddings).min_cosine > 1 - 1e-6
    assert tower.runs == 3


def test_a_lost_device_is_told_once_and_not_asked_again(tiny: Path) -> None:
    encoder, tower = failing(tiny, room=0)
    told: list[str] = []
    encoder.watch(told.append)
    pixels = golden.load(tiny).pixels
    for _ in range(3):
        with pytest.raises(recovery.DeviceLost, match="out of memory"):
            encoder.encode_pixels(pixels)
    assert tower.runs == 2  # the whole and its half
    with pytest.raises(recovery.DeviceLost):
        encoder.encode_texts(["a cat"])
    assert len(told) == 1
    late: list[str] = []
    encoder.watch(late.append)
    assert late == told


def test_a_tower_that_raises_at_the_self_test_passes_its_lane_over(tiny: Path) -> None:
    class Broken(OrtCpuLane):
        def open(self, folder: Path, manifest: Manifest, tower: TowerName) -> Tower:
            return Failing(super().open(folder, manifest, tower), room=0)

    with pytest.raises(LaneUnavailable, match="fails its self-test: The device is out of memory"):
        open_encoder(tiny, lanes=[Broken()])
    assert open_encoder(tiny, lanes=[Broken(), OrtCpuLane()]).report.passed_over["cpu"]


def test_a_graph_that_is_not_shipped_passes_its_lane_over(tiny: Path) -> None:
    (tiny / tiny_model.IMAGE).unlink()
    with pytest.raises(LaneUnavailable, match=f"does not hold {tiny_model.IMAGE}"):
        open_encoder(tiny)


@pytest.mark.parametrize(
    ("vector", "verdict"),
    [([1, 2], True), ([0, -1e-30], True), ([0, 0], False), ([np.nan, 1], False), ([np.inf, 1], False)],
)
def test_only_finite_vectors_with_a_direction_may_be_sent(vector: list[float], verdict: bool) -> None:
    assert usable(np.array([vector, [3, 4]], np.float32)) == [verdict, True]


def test_a_decoder_that_gives_other_pixels_is_refused(tiny: Path) -> None:
    def turned(stored: Golden) -> Golden:
        return replace(stored, pixels=stored.pixels[:, ::-1])

    tiny_model.change_golden(tiny, turned)
    with pytest.raises(ModelError, match=r"preprocessing differs from the reference on this machine \(Pillow \d"):
        open_encoder(tiny)
