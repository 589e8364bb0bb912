"""open_clip itself, on PyTorch: the reference that every vector is held against, and a peer like the others.

MODEL_FOLDER is a file here: ``open_clip.json``, which names model, checkpoint and activation.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from bench.peers import protocol


class Reference:
    """open_clip's model, transform and tokenizer, by its documented calls."""

    def __init__(self, description: Path) -> None:
        said = json.loads(description.read_text())
        self._model, _, self._transform = open_clip.create_model_and_transforms(
            said["model"], pretrained=said["checkpoint"], quick_gelu=said["quick_gelu"]
        )
        self._model.eval()
        self._tokenize = open_clip.get_tokenizer(said["model"])

    def images(self, files: Sequence[bytes]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`."""
        pixels = torch.stack([self._transform(Image.open(io.BytesIO(data))) for data in files])
        with torch.no_grad():
            vectors: list[list[float]] = self._model.encode_image(pixels).tolist()
        return vectors

    def texts(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """See `protocol.Library`."""
        with torch.no_grad():
            vectors: list[list[float]] = self._model.encode_text(self._tokenize(list(texts))).tolist()
        return vectors

    def pixels(self, files: Sequence[bytes]) -> list[str]:
        """sha256 of each image's bytes before they are scaled: open_clip's own steps up to ToTensor."""
        return [self._digest(data) for data in files]

    def _digest(self, data: bytes) -> str:
        image = Image.open(io.BytesIO(data))
        for step in self._transform.transforms:
            if type(step).__name__.endswith("ToTensor"):  # open_clip has one of its own
                break
            image = step(image)
        return hashlib.sha256(np.asarray(image).tobytes()).hexdigest()


if __name__ == "__main__":
    protocol.serve(Reference, sys.argv[1:])
