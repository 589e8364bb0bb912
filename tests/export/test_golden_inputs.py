from __future__ import annotations

import hashlib

import numpy as np

from export import golden_inputs, oracle
from export.weights import Weights
from heimdex_clip.encoder.preprocess import preprocess

PIXELS_SHA256 = "7cdf77eed5aadc1afdad7726a58d9edae112ea0e7d8d10c9de25f50a1fc0bb24"


def test_the_pictures_are_the_same_everywhere() -> None:
    pixels = golden_inputs.pixels(224)
    assert pixels.shape == (8, 224, 224, 3)
    assert pixels.dtype == np.uint8
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == PIXELS_SHA256


def test_no_two_pictures_are_alike_and_flat_ones_are_there() -> None:
    pixels = golden_inputs.pixels(64)
    assert len({picture.tobytes() for picture in pixels}) == 8
    assert [int(picture.max()) for picture in pixels if picture.min() == picture.max()] == [0, 255]


def test_noise_differs_by_seed_and_row() -> None:
    first, second = golden_inputs.noise_pixels(32, count=2, seed=1)
    assert (first != second).any()
    assert (golden_inputs.noise_pixels(32, count=1, seed=2)[0] != first).any()


def test_the_texts_cover_empty_truncated_and_spelled_out_ends(tiny_weights: Weights) -> None:
    ids = oracle.text_ids(tiny_weights, golden_inputs.TEXTS)
    ends = ids.argmax(axis=1)
    assert ends.min() == 1  # the empty text: start and end alone
    assert ends.max() == 76  # the truncated one
    assert (np.count_nonzero(ids == 49407, axis=1) == 2).any()  # "<end_of_text>" in the text


def test_the_reference_is_open_clips_own_answer(tiny_weights: Weights) -> None:
    made = golden_inputs.make(tiny_weights)
    assert made.image_embeddings.shape == (8, 24)
    assert made.text_embeddings.shape == (8, 24)
    assert made.image_embeddings.dtype == made.text_embeddings.dtype == np.float32
    (expected,) = oracle.image_vectors(tiny_weights, made.pixels[3:4])
    np.testing.assert_allclose(made.image_embeddings[3], expected, atol=1e-6)


def test_the_first_picture_is_what_the_reference_makes_of_the_photo(tiny_weights: Weights) -> None:
    made = golden_inputs.make(tiny_weights)
    size = tiny_weights.preprocessing.image_size
    assert np.array_equal(preprocess(made.photo, size=size, max_pixels=10**7), made.pixels[0])
    assert made.photo.startswith(b"\xff\xd8")
