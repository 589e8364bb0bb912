"""What open_clip itself answers: the reference that every graph is held to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray

from export.weights import Weights

_CHUNK = 8  # keeps memory flat


def image_vectors(weights: Weights, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 ``[N, size, size, 3]`` -> float32 ``[N, D]``, not normalised, by open_clip's model in fp32."""
    mean = torch.tensor(weights.preprocessing.mean)[:, None, None]
    std = torch.tensor(weights.preprocessing.std)[:, None, None]
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), _CHUNK):
            # torchvision's ToTensor and Normalize, in their order.
            planes = torch.from_numpy(pixels[start : start + _CHUNK]).permute(0, 3, 1, 2).contiguous()
            parts.append(weights.clip.encode_image((planes.float() / 255 - mean) / std))
    return torch.cat(parts).numpy()


def text_ids(weights: Weights, texts: Sequence[str]) -> NDArray[np.int64]:
    """Texts -> int64 ``[N, context]`` by open_clip's tokenizer."""
    ids: torch.Tensor = open_clip.get_tokenizer(weights.model)(list(texts))
    return ids.numpy()


def text_vectors(weights: Weights, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """int64 ``[N, context]`` -> float32 ``[N, D]``, not normalised, by open_clip's model in fp32."""
    with torch.inference_mode():
        parts = [
            weights.clip.encode_text(torch.from_numpy(ids[start : start + _CHUNK]))
            for start in range(0, len(ids), _CHUNK)
        ]
    return torch.cat(parts).numpy()
