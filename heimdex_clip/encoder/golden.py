"""Golden vectors: fixed inputs and the PyTorch fp32 reference's outputs for them, in golden.npz."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heimdex_clip.errors import ModelError

FILE_NAME = "golden.npz"


@dataclass(frozen=True, slots=True)
class Golden:
    """N images and M texts with their reference embeddings (not normalised).

    `photo` is a JPEG of which the reference's transform makes ``pixels[0]``. `pixels` uint8
    ``[N, size, size, 3]``, `image_embeddings` float32 ``[N, D]``; `texts` M strings, `ids` int64
    ``[M, context]`` as open_clip's tokenizer made them, `text_embeddings` float32 ``[M, D]``.
    """

    photo: bytes
    pixels: NDArray[np.uint8]
    image_embeddings: NDArray[np.float32]
    texts: tuple[str, ...]
    ids: NDArray[np.int64]
    text_embeddings: NDArray[np.float32]

    def save(self, folder: Path) -> None:
        """Write golden.npz into the folder."""
        np.savez_compressed(
            folder / FILE_NAME,
            photo=np.frombuffer(self.photo, np.uint8),
            pixels=self.pixels,
            image_embeddings=self.image_embeddings,
            texts=np.array(self.texts),
            ids=self.ids,
            text_embeddings=self.text_embeddings,
        )


def load(folder: Path) -> Golden:
    """Read golden.npz. Raises ModelError when it is missing or malformed."""
    path = folder / FILE_NAME
    try:
        # Opened here: numpy leaves its own file open when the content is broken.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            golden = Golden(
                photo=arrays["photo"].tobytes(),
                pixels=arrays["pixels"],
                image_embeddings=arrays["image_embeddings"],
                texts=tuple(str(text) for text in arrays["texts"]),
                ids=arrays["ids"],
                text_embeddings=arrays["text_embeddings"],
            )
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"cannot use {path}: {error}") from None
    if not len(golden.pixels) or not len(golden.ids):
        raise ModelError(f"{path} holds no golden vectors")
    return golden
