"""The CPU lane held to PyTorch: whole pictures and texts, not only the vectors that the folder carries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export import corpus, reference
from export.progress import Progress
from export.reference import Reference
from heimdex_clip.encoder import golden, manifest
from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.encoder.gates import BATCH, EXPORT_FP32, measure
from heimdex_clip.encoder.preprocess import preprocess

CASES = [
    *(case for case in corpus.photographs() if case.name in {"astronaut.png", "camera.png", "china.jpg", "rocket.jpg"}),
    *(case for case in corpus.hostile() if case.name in {"size 1x90", "palette", "RGBA", "CMYK JPEG", "16-bit grey"}),
]


@pytest.fixture(scope="module")
def torch_model(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    cache = tmp_path_factory.mktemp("cache")  # untrained weights need none
    return reference.load(manifest.load(model_dir), checkpoint=None, cache=cache, progress=Progress())


@pytest.fixture(scope="module")
def encoder(model_dir: Path) -> Encoder:
    return open_encoder(model_dir, runtime="cpu")


@pytest.fixture(scope="module")
def pixels(encoder: Encoder) -> NDArray[np.uint8]:
    return np.stack([preprocess(case.data, size=encoder.image_size, max_pixels=30_000_000) for case in CASES])


def test_pictures_equal_pytorch(encoder: Encoder, torch_model: Reference, pixels: NDArray[np.uint8]) -> None:
    expected = torch_model.image_vectors([case.data for case in CASES])
    for case, own, wanted in zip(CASES, encoder.encode_pixels(pixels), expected, strict=True):
        parity = measure(own[None], wanted[None])
        assert EXPORT_FP32.holds(parity), f"{case.name}: {parity}"


def test_texts_equal_pytorch(encoder: Encoder, torch_model: Reference) -> None:
    vectors, truncated = encoder.encode_texts(corpus.TEXTS)
    parity = measure(vectors, torch_model.text_vectors(corpus.TEXTS))
    assert EXPORT_FP32.holds(parity), str(parity)
    assert truncated == (False, False, False, False, False, True)


def test_alone_equals_batched(encoder: Encoder, pixels: NDArray[np.uint8]) -> None:
    alone = np.concatenate([encoder.encode_pixels(picture[None]) for picture in pixels])
    assert BATCH.holds(measure(encoder.encode_pixels(pixels), alone))


def test_a_short_text_beside_a_long_one_equals_the_same_alone(encoder: Encoder) -> None:
    """Padding is trimmed to the longest row, so a neighbour changes a row's length but not its vector."""
    texts = ("a cat", "word " * 200)
    together, _ = encoder.encode_texts(texts)
    alone = np.concatenate([encoder.encode_texts([text])[0] for text in texts])
    assert BATCH.holds(measure(together, alone))


def test_another_picture_fails_the_gate(encoder: Encoder, torch_model: Reference, pixels: NDArray[np.uint8]) -> None:
    """Untrained vectors lie close together; the gate must still tell two pictures apart."""
    wanted = torch_model.image_vectors([CASES[0].data])
    assert not EXPORT_FP32.holds(measure(encoder.encode_pixels(pixels[1:2]), wanted))


def test_the_stored_golden_vectors_are_pytorchs(model_dir: Path, torch_model: Reference) -> None:
    stored = golden.load(model_dir)
    assert EXPORT_FP32.holds(measure(stored.image_embeddings, torch_model.pixel_vectors(stored.pixels)))
    assert EXPORT_FP32.holds(measure(stored.text_embeddings, torch_model.text_vectors(stored.texts)))
