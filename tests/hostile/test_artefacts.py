"""Model folders that somebody altered: none of them serves, and nothing of a plan runs before its hash holds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.external_data_helper import set_external_data

from heimdex_clip.encoder import golden, manifest, tokenizer
from heimdex_clip.encoder.encoder import open_encoder
from heimdex_clip.errors import ClipError, LaneUnavailable, ModelError
from tests import tiny_model
from tests.heimdex_clip.encoder.runtimes.gpu_double import HostCuda
from tests.heimdex_clip.encoder.runtimes.test_tensorrt import FOLDER, double, lane, write

FILES = (tiny_model.IMAGE, golden.FILE_NAME, tiny_model.TEXT, tokenizer.FILE_NAME)
PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.fixture
def altered(tmp_path: Path) -> Path:
    return tiny_model.build(tmp_path / "model")


def flip(path: Path, place: float) -> None:
    """One bit of the byte that lies at this part of the file."""
    data = bytearray(path.read_bytes())
    data[round(place * (len(data) - 1))] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_of_a_file_never_serves(altered: Path, name: str, place: float) -> None:
    flip(altered / name, place)
    with pytest.raises(ModelError, match="the manifest says"):
        open_encoder(altered, runtime="cpu").encode_texts(["a cat"])


@pytest.mark.parametrize("place", PLACES)
def test_one_flipped_bit_of_the_manifest_never_serves(altered: Path, place: float) -> None:
    path = altered / manifest.FILE_NAME
    baked = hashlib.sha256(path.read_bytes()).hexdigest()
    assert open_encoder(altered, runtime="cpu", expected_manifest_sha256=baked)
    flip(path, place)
    with pytest.raises(ModelError, match="not MODEL_MANIFEST_SHA256"):
        open_encoder(altered, runtime="cpu", expected_manifest_sha256=baked)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("tower", ["image", "text"])
def test_one_flipped_bit_of_a_plan_is_never_given_to_the_runtime(altered: Path, tower: str, place: float) -> None:
    """A plan is host code."""
    write(altered)
    trt = double(altered)
    flip(altered / FOLDER / f"{tower}.plan", place)
    with pytest.raises(ModelError, match=rf"{tower}\.plan has sha256 .*; the manifest says"):
        open_encoder(altered, lanes=[lane(trt, HostCuda())]).encode_texts(["a cat"])
    assert len(trt.loaded) == (tower == "text")  # the image tower's, which is whole


def outside(altered: Path) -> Path:
    """The true weights of the image graph, in a file beside the folder."""
    (weights,) = (t for t in onnx.load(altered / tiny_model.IMAGE).graph.initializer if t.name == "matrix")
    path = altered.parent / "weights.bin"
    path.write_bytes(numpy_helper.to_array(weights).tobytes())
    return path


def refer(altered: Path, location: str) -> None:
    """Let the image graph take its weights from `location`, and the manifest vouch for that graph."""
    graph = onnx.load(altered / tiny_model.IMAGE)
    (weights,) = (tensor for tensor in graph.graph.initializer if tensor.name == "matrix")
    set_external_data(weights, location)
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    (altered / tiny_model.IMAGE).write_bytes(graph.SerializeToString())
    tiny_model.seal(altered)


@pytest.mark.parametrize(
    "location",
    [
        "../weights.bin",
        "./../weights.bin",
        "x/../../weights.bin",
        "../model/../weights.bin",
        "{absolute}",
        "//{absolute}",
        "../../../../../../../../{absolute}",
        "/etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
        "link.bin",
        "folder/weights.bin",
    ],
)
def test_weights_outside_the_folder_are_not_read(altered: Path, location: str) -> None:
    """Even where they are the true ones, and the manifest is of a piece with the graph."""
    path = outside(altered)
    (altered / "link.bin").symlink_to(path)
    (altered / "folder").symlink_to(path.parent)
    refer(altered, location.format(absolute=str(path)))
    with pytest.raises(ClipError) as caught:
        open_encoder(altered, runtime="cpu")
    assert isinstance(caught.value, LaneUnavailable | ModelError)
    assert "\n" not in str(caught.value)


def test_weights_inside_the_folder_are_read(altered: Path) -> None:
    """So that what the test above refuses is the place."""
    outside(altered).replace(altered / "weights.bin")
    refer(altered, "weights.bin")
    stored = golden.load(altered)
    vectors = open_encoder(altered, runtime="cpu").encode_pixels(stored.pixels)
    np.testing.assert_allclose(vectors, stored.image_embeddings, rtol=1e-4)
