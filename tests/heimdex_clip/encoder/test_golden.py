from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from heimdex_clip.encoder import golden
from heimdex_clip.encoder.golden import Golden
from heimdex_clip.errors import ModelError

GOLDEN = Golden(
    photo=b"\xff\xd8 a photograph",
    pixels=np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3),
    image_embeddings=np.array([[1.5, -2], [3, 4]], np.float32),
    texts=("a cat", "ein Hündchen 🐕"),
    ids=np.array([[1, 5, 2], [1, 6, 2]], np.int64),
    text_embeddings=np.array([[0, 1], [2, 3]], np.float32),
)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    GOLDEN.save(tmp_path)
    loaded = golden.load(tmp_path)
    assert loaded.texts == GOLDEN.texts
    for field in fields(Golden):
        wanted, found = getattr(GOLDEN, field.name), getattr(loaded, field.name)
        np.testing.assert_array_equal(found, wanted)
        if isinstance(wanted, np.ndarray):
            assert found.dtype == wanted.dtype


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY", b"text"])
def test_a_broken_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / golden.FILE_NAME).write_bytes(data)
    with pytest.raises(ModelError, match=r"cannot use .*golden\.npz"):
        golden.load(tmp_path)


@pytest.mark.parametrize("position", [0.2, 0.5, 0.8])
def test_a_damaged_file_is_one_line(tmp_path: Path, position: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    replace(GOLDEN, pixels=noise).save(tmp_path)
    path = tmp_path / golden.FILE_NAME
    data = bytearray(path.read_bytes())
    start = int(len(data) * position)
    data[start : start + 64] = bytes(64)
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"cannot use .*golden\.npz"):
        golden.load(tmp_path)


def test_an_array_that_is_no_archive_is_one_line(tmp_path: Path) -> None:
    with (tmp_path / golden.FILE_NAME).open("wb") as file:
        np.save(file, GOLDEN.pixels)
    with pytest.raises(ModelError, match=r"cannot use .*golden\.npz"):
        golden.load(tmp_path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot use .*golden\.npz"):
        golden.load(tmp_path)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / golden.FILE_NAME, pixels=GOLDEN.pixels)
    with pytest.raises(ModelError, match="photo"):
        golden.load(tmp_path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    arrays = {field.name: getattr(GOLDEN, field.name) for field in fields(Golden)}
    arrays["texts"] = np.array([print, "x"], dtype=object)
    np.savez(tmp_path / golden.FILE_NAME, **arrays)
    with pytest.raises(ModelError, match="allow_pickle"):
        golden.load(tmp_path)


@pytest.mark.parametrize("tower", ["pixels", "ids"])
def test_a_file_without_vectors_proves_nothing(tmp_path: Path, tower: str) -> None:
    replace(GOLDEN, **{tower: getattr(GOLDEN, tower)[:0]}).save(tmp_path)
    with pytest.raises(ModelError, match="holds no golden vectors"):
        golden.load(tmp_path)
