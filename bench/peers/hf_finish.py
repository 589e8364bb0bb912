"""``python -m bench.peers.hf_finish FOLDER``: finish a transformers folder, and prove it.

Runs in infinity's environment, the one that has transformers: it writes the fast tokenizer's file from vocab.json and
merges.txt, then holds the loaded CLIPModel to open_clip's own vectors for the same tensors (``check.npz``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MIN_COSINE = 0.9999999


def main(folder: Path) -> None:
    """Exits with a line on standard error when the converted model is not the same model."""
    import torch
    from transformers import CLIPModel, CLIPTokenizerFast

    tokenizer = CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    tokenizer.save_pretrained(str(folder))
    check = np.load(folder / "check.npz")
    model = CLIPModel.from_pretrained(str(folder)).eval()
    with torch.no_grad():
        images = model.get_image_features(pixel_values=torch.from_numpy(check["pixels"])).numpy()
        texts = model.get_text_features(input_ids=torch.from_numpy(check["ids"])).numpy()
    for what, vectors, expected in (("image", images, check["images"]), ("text", texts, check["texts"])):
        cosine = float(cosines(vectors, expected).min())
        if not cosine >= MIN_COSINE:
            sys.exit(f"the converted {what} tower differs from open_clip's: cosine {cosine:.9f}, needed {MIN_COSINE}")


def cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row, in float64."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    products: NDArray[np.float64] = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return products


if __name__ == "__main__":
    main(Path(sys.argv[1]))
