"""The PyTorch reference of a model folder: open_clip's own model, transform and tokenizer, in fp32."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image

from export import oracle
from export.progress import Progress
from export.weights import OPENAI, UNTRAINED_PREFIX, Source, Weights, resolve
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.errors import ModelError, SettingsError

_CHUNK = 8  # keeps memory flat


@dataclass(frozen=True, slots=True)
class Reference:
    """open_clip's model with the folder's weights, and the transform that open_clip pairs with them."""

    weights: Weights
    transform: Any

    def pixels(self, data: bytes) -> NDArray[np.uint8]:
        """Encoded image -> the transform's picture before it becomes a tensor, uint8 ``[size, size, 3]``."""
        return to_pixels(self.transform, open_image(data))

    def image_vectors(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        """Encoded images -> float32 ``[N, D]``, not normalised, through the whole transform."""
        parts = []
        with torch.inference_mode(), _quiet():
            for start in range(0, len(images), _CHUNK):
                batch = [self.transform(open_image(data)) for data in images[start : start + _CHUNK]]
                parts.append(self.weights.clip.encode_image(torch.stack(batch)))
        return torch.cat(parts).numpy()

    def pixel_vectors(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 ``[N, size, size, 3]`` -> float32 ``[N, D]``, not normalised."""
        return oracle.image_vectors(self.weights, pixels)

    def text_ids(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Texts -> int64 ``[N, context]``."""
        return oracle.text_ids(self.weights, texts)

    def text_vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts -> float32 ``[N, D]``, not normalised."""
        return oracle.text_vectors(self.weights, self.text_ids(texts))


def load(model: Manifest, *, checkpoint: Path | None, cache: Path, progress: Progress) -> Reference:
    """Rebuild the weights that the manifest names, from their seed, `checkpoint` or `cache`.

    Raises SettingsError where a checkpoint is missing or out of place, and ModelError when the weights cannot
    be had or are not those of the manifest.
    """
    weights = resolve(_source(model, checkpoint), cache=cache, progress=progress)
    if weights.sha256 != model.identity.weights_sha256:
        raise ModelError(
            f"the reference's weights have sha256 {weights.sha256}; the manifest says {model.identity.weights_sha256}"
        )
    return Reference(weights, transform_of(weights))


def transform_of(weights: Weights) -> Any:
    """open_clip's evaluation transform, as its create_model_and_transforms pairs it with these weights."""
    config = merge_preprocess_dict(PreprocessCfg(), weights.clip.visual.preprocess_cfg)
    published = open_clip.pretrained.get_pretrained_cfg(weights.model, weights.pretrained)
    return image_transform_v2(PreprocessCfg(**merge_preprocess_dict(config, published)), is_train=False)


def open_image(data: bytes) -> Image.Image:
    """What the reference's transform is given: Pillow's own reading of the bytes.

    One exception, docs/adr/0002-preprocessing-contract.md: 16-bit greys by their high byte.
    """
    image = Image.open(io.BytesIO(data))
    image.load()
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    return image


def to_pixels(transform: Any, image: Image.Image) -> NDArray[np.uint8]:
    """The transform's picture just before it becomes a tensor: uint8 ``[size, size, 3]``."""
    with _quiet():
        for step in transform.transforms:
            result = step(image)
            if not isinstance(result, Image.Image):
                break
            image = result
    return np.asarray(image)


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns when the reference converts a palette with graded alpha; the result is what is wanted."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Palette images with Transparency")
        yield


def _source(model: Manifest, checkpoint: Path | None) -> Source:
    tag = model.pretrained
    if model.untrained:
        if checkpoint is not None:
            raise SettingsError(f"{tag} is rebuilt from its seed; leave --checkpoint out")
        try:
            seed = int(tag.removeprefix(UNTRAINED_PREFIX))
        except ValueError:
            raise ModelError(f"untrained weights are named {UNTRAINED_PREFIX}SEED, not {tag!r}") from None
        return Source(model=model.model, untrained=seed, quick_gelu=model.identity.quick_gelu)
    if tag == OPENAI:
        return Source(model=model.model, checkpoint=checkpoint)
    if checkpoint is None:
        raise SettingsError(f"the weights of {tag} are not published by OpenAI; give their file: --checkpoint FILE")
    return Source(model=model.model, checkpoint=checkpoint, tag=tag, quick_gelu=model.identity.quick_gelu)
