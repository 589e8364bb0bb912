from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.__main__ import main
from heimdex_clip.encoder.golden import Golden
from heimdex_clip.encoder.manifest import Manifest
from tests import tiny_model

COMPATIBLE, NOT_COMPATIBLE, ERROR = 0, 1, 2


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two builds of the same weights."""
    return tiny_model.build(tmp_path / "a"), tiny_model.build(tmp_path / "b")


def diff(a: Path, b: Path) -> int:
    return main(["diff", str(a), str(b)])


def test_two_builds_of_the_same_weights(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(*pair) == COMPATIBLE
    out = capsys.readouterr().out
    assert "The digests are equal" in out
    assert out.count("A -> B") == out.count("B -> A") == 5
    assert out.splitlines()[-1].startswith("compatible: 0 of 10 golden vectors drift, lowest cosine ")


def test_other_weights_drift(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = tiny_model.build(tmp_path / "a"), tiny_model.build(tmp_path / "b", seed=1)
    assert diff(a, b) == NOT_COMPATIBLE
    out = capsys.readouterr().out
    assert "The digests are equal" not in out
    assert "DRIFTS" in out
    assert out.splitlines()[-1].startswith("NOT compatible: ")


def last_picture_turned(stored: Golden) -> Golden:
    vectors = stored.image_embeddings.copy()
    vectors[-1] = np.roll(vectors[-1], 1)
    return replace(stored, image_embeddings=vectors)


@pytest.mark.parametrize(("spoilt", "direction"), [(0, "A -> B"), (1, "B -> A")])
def test_one_drifting_vector_of_either_folder_is_enough(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], spoilt: int, direction: str
) -> None:
    tiny_model.change_golden(pair[spoilt], last_picture_turned)
    assert diff(*pair) == NOT_COMPATIBLE
    drifting = [line for line in capsys.readouterr().out.splitlines() if "DRIFTS" in line]
    assert len(drifting) == 1
    assert direction in drifting[0]
    assert "picture 2" in drifting[0]


def test_a_drift_inside_the_gate_is_compatible(pair: tuple[Path, Path]) -> None:
    """Another build of the same weights differs a little; only the direction counts."""
    tiny_model.change_golden(
        pair[0], lambda stored: replace(stored, image_embeddings=(stored.image_embeddings * 1.01).astype(np.float32))
    )
    assert diff(*pair) == COMPATIBLE


def with_mean(model: Manifest) -> Manifest:
    preprocessing = replace(model.identity.preprocessing, mean=(0.4, 0.4, 0.4))
    return replace(model, identity=replace(model.identity, preprocessing=preprocessing))


def with_crop(model: Manifest) -> Manifest:
    preprocessing = replace(model.identity.preprocessing, crop="centre, rounded down")
    return replace(model, identity=replace(model.identity, preprocessing=preprocessing))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_mean, "preprocessing: mean is (0.5, 0.5, 0.5) and (0.4, 0.4, 0.4)"),
        (with_crop, "preprocessing: crop is"),
    ],
)
def test_another_preprocessing_is_not_compatible_though_the_vectors_are(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], change: Callable[[Manifest], Manifest], reason: str
) -> None:
    tiny_model.seal(pair[1], change)
    assert diff(*pair) == NOT_COMPATIBLE
    out = capsys.readouterr().out
    assert f"not comparable: {reason}" in out
    assert "cosine" not in out.partition("NOT compatible")[0]


def test_another_dimension_is_not_compatible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = tiny_model.build(tmp_path / "a", dim=5), tiny_model.build(tmp_path / "b", dim=6)
    assert diff(a, b) == NOT_COMPATIBLE
    assert "not comparable: embedding_dim is 5 and 6" in capsys.readouterr().out


def test_an_altered_golden_file_is_refused(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = pair[0] / "golden.npz"
    path.write_bytes(path.read_bytes() + b"\0")
    assert diff(*pair) == ERROR
    assert "golden.npz has sha256" in capsys.readouterr().err


def test_an_unknown_runtime_is_one_line(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *map(str, pair), "--runtime", "abacus"]) == ERROR
    assert "must be one of auto" in capsys.readouterr().err
