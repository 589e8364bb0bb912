"""The golden inputs: pictures and texts made by rule, the same on every machine."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export import oracle, reference
from export.weights import Weights
from heimdex_clip.encoder.golden import Golden

TEXTS = (
    "a photo of a cat",
    "",
    "A Dog   on the\tbeach, at 5:30 — isn't it lovely?",
    "word " * 120,
    "Ein Käse, ein Ärgernis; мир, труд; 東京の空 ことば",
    "family 👨‍👩‍👧‍👦 and flag 🇩🇪 ❤️",
    "fish &amp;amp; chips &lt;3 &eacute; sâ€™il vous plaÃ®t",
    "<start_of_text>the end<end_of_text>and after",
)
"""Short, empty, mixed case and punctuation, too long, other scripts, emoji, entities and mojibake, and a
text that spells the special tokens."""


def make(weights: Weights) -> Golden:
    """The golden inputs with open_clip's own answers in fp32."""
    pictures = pixels(weights.preprocessing.image_size)
    jpeg = photo(pictures[0])
    pictures[0] = reference.to_pixels(reference.transform_of(weights), reference.open_image(jpeg))
    ids = oracle.text_ids(weights, TEXTS)
    return Golden(
        photo=jpeg,
        pixels=pictures,
        image_embeddings=oracle.image_vectors(weights, pictures),
        texts=TEXTS,
        ids=ids,
        text_embeddings=oracle.text_vectors(weights, ids),
    )


def photo(picture: NDArray[np.uint8]) -> bytes:
    """The picture as a JPEG such as cameras make: larger, wider than high, with halved colour planes."""
    height, width = picture.shape[0] * 9 // 4, picture.shape[1] * 13 // 4
    file = io.BytesIO()
    scaled = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    scaled.save(file, "JPEG", quality=90, subsampling="4:2:0")
    return file.getvalue()


def pixels(size: int) -> NDArray[np.uint8]:
    """Eight pictures, uint8 ``[8, size, size, 3]``; the first has something of everything."""
    y, x = np.mgrid[0:size, 0:size].astype(np.int64)
    span = max(size - 1, 1)
    across, down = x * 255 // span, y * 255 // span
    radius2 = (2 * x - size) ** 2 + (2 * y - size) ** 2
    disc = (radius2 < (size * 3 // 4) ** 2) * 255
    checker = ((x // 16 + y // 16) % 2) * 255
    stripes = ((x + 2 * y) // 9 % 3) * 127
    noise = noise_pixels(size, count=1, seed=1)[0]
    black, white = np.zeros_like(x), np.full_like(x, 255)
    pictures = (
        _rgb(np.where(disc > 0, across, checker), np.where(disc > 0, down, stripes), noise[..., 0]),
        _rgb(across, down, 255 - across),
        noise,
        _rgb(checker, checker, checker),
        _rgb(black, black, black),
        _rgb(white, white, white),
        _rgb(disc, stripes, 255 - disc),
        _rgb(stripes, across, np.where(disc > 0, 200, 30)),
    )
    return np.stack(pictures).astype(np.uint8)


def noise_pixels(size: int, *, count: int, seed: int) -> NDArray[np.uint8]:
    """Noise, uint8 ``[count, size, size, 3]``. A bit generator's raw output is stable across releases."""
    raw = np.random.PCG64(seed).random_raw(-(-count * size * size * 3 // 8))
    return raw.astype("<u8").view(np.uint8)[: count * size * size * 3].reshape(count, size, size, 3)


def _rgb(red: NDArray[np.generic], green: NDArray[np.generic], blue: NDArray[np.generic]) -> NDArray[np.int64]:
    return np.stack([red, green, blue], axis=-1).astype(np.int64)
