"""Where weights come from: OpenAI's published file, a checkpoint on disk, or a seed.

Whatever the source, the activation is forced from what is known about the weights. open_clip's own default
for `ViT-B-32` is plain GELU, which OpenAI's weights were not trained with; it only warns.
"""

from __future__ import annotations

import hashlib
import logging
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from export import checkpoint, download
from export.progress import Progress
from heimdex_clip.encoder.manifest import Preprocessing
from heimdex_clip.errors import ModelError, SettingsError

OPENAI = "openai"
UNTRAINED_PREFIX = "untrained-"
_WAYS_ON = "give --checkpoint FILE, or --untrained SEED for vectors without meaning"
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """What was asked for: a `checkpoint`, a seed (`untrained`), or else the published weights.

    `tag` and `quick_gelu` describe a checkpoint that is not OpenAI's own; None means not said.
    """

    model: str = "ViT-B-32"
    pretrained: str = OPENAI
    checkpoint: Path | None = None
    tag: str | None = None
    quick_gelu: bool | None = None
    untrained: int | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """open_clip's CLIP with weights in place, fp32, in eval mode, and what is known about them.

    `sha256` is the weight file's; for untrained weights that of names, dtypes, shapes and values.
    """

    clip: Any
    model: str
    pretrained: str
    sha256: str
    quick_gelu: bool
    untrained: bool
    preprocessing: Preprocessing


def resolve(source: Source, *, cache: Path, progress: Progress) -> Weights:
    """Find, check and load the weights.

    `cache` is the folder for downloads. Raises SettingsError for contradicting arguments and ModelError
    for weights that cannot be had, do not fit the model, or a model whose towers are not the standard ones.
    """
    if source.checkpoint is not None and source.untrained is not None:
        raise SettingsError("--checkpoint and --untrained exclude each other")
    if source.checkpoint is None and source.tag is not None:
        raise SettingsError("--tag describes a --checkpoint, and none is given")
    if source.untrained is not None:
        return _untrained(source, source.untrained)
    if source.checkpoint is not None:
        return _from_file(source, source.checkpoint, progress)
    return _published(source, cache, progress)


def _published(source: Source, cache: Path, progress: Progress) -> Weights:
    if source.pretrained != OPENAI:
        raise ModelError(
            f"only --pretrained {OPENAI} is fetched; for {source.pretrained!r} give its file: "
            f"--checkpoint FILE --tag {source.pretrained} and --quick-gelu or --no-quick-gelu"
        )
    url = _openai_config(source.model).get("url", "")
    if not url:
        raise ModelError(f"OpenAI published no weights for {source.model}; {_WAYS_ON}")
    try:
        path = download.fetch(url, download.sha256_in(url), cache, progress)
    except ModelError as error:
        raise ModelError(f"{error}; {_WAYS_ON}") from None
    return _from_file(source, path, progress)


def _from_file(source: Source, path: Path, progress: Progress) -> Weights:
    with progress.step(f"reading {path.name}"):
        sha256 = checkpoint.sha256_of(path)
        tag, quick_gelu = _describe(source, sha256)
        state = checkpoint.read(path)
        clip = _build(source.model, quick_gelu)
        _fill(clip, state, f"{path} does not fit {source.model}")
    return Weights(clip, source.model, tag, sha256, quick_gelu, False, _preprocessing(clip))


def _untrained(source: Source, seed: int) -> Weights:
    if not 0 <= seed < 2**63:
        raise SettingsError(f"--untrained {seed}: must be a whole number from 0 on")
    quick_gelu = source.quick_gelu
    if quick_gelu is None:
        quick_gelu = bool(_openai_config(source.model).get("quick_gelu", False))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = _build(source.model, quick_gelu)
    sha256 = state_sha256(clip.state_dict())
    tag = f"{UNTRAINED_PREFIX}{seed}"
    return Weights(clip, source.model, tag, sha256, quick_gelu, True, _preprocessing(clip))


def _describe(source: Source, sha256: str) -> tuple[str, bool]:
    """The tag and activation of a weight file: OpenAI's by its hash, any other's as the caller says."""
    published = _openai_config(source.model)
    if published and sha256 == download.sha256_in(published["url"]):
        quick_gelu = bool(published["quick_gelu"])
        if source.tag not in (None, OPENAI) or source.quick_gelu not in (None, quick_gelu):
            raise SettingsError("these are OpenAI's published weights: leave --tag and --quick-gelu out")
        return OPENAI, quick_gelu
    if source.tag is None:
        raise SettingsError(f"the checkpoint (sha256 {sha256}) is not OpenAI's published file; name it with --tag NAME")
    name = source.tag.casefold()
    if not _TAG.fullmatch(source.tag) or name == OPENAI or name.startswith(UNTRAINED_PREFIX):
        raise SettingsError(
            f"--tag {source.tag!r}: must be 1 to 64 of A-Z a-z 0-9 . _ -, and neither {OPENAI!r} "
            f"(its sha256 is another) nor begin with {UNTRAINED_PREFIX!r}"
        )
    if source.quick_gelu is None:
        raise SettingsError("say how the checkpoint was trained: --quick-gelu or --no-quick-gelu")
    return source.tag, source.quick_gelu


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """sha256 over the sorted names with their dtypes, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name].contiguous().numpy()
        head = f"{name} {array.dtype.str} {array.shape}".encode()
        digest.update(struct.pack("<I", len(head)) + head)
        digest.update(array.reshape(-1).view("u1").data)
    return digest.hexdigest()


def _openai_config(model: str) -> Mapping[str, Any]:
    config: Mapping[str, Any] = open_clip.pretrained.get_pretrained_cfg(model, OPENAI)
    return config


def _build(model: str, quick_gelu: bool) -> Any:
    """open_clip's model, freshly initialised, with the activation forced."""
    config = open_clip.get_model_config(model)
    if config is None:
        raise ModelError(f"open_clip knows no model {model!r}")
    _require_standard(model, config)
    with _quiet():
        # As an argument it overrides the configuration in both directions; force_quick_gelu only in one.
        clip = open_clip.create_model(model, load_weights=False, precision="fp32", quick_gelu=quick_gelu)
    return clip.eval()


def _require_standard(model: str, config: Mapping[str, Any]) -> None:
    """Raise ModelError unless both towers are the ViT and text transformer of the first CLIP."""
    vision, text = dict(config["vision_cfg"]), dict(config["text_cfg"])
    allowed_vision = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"}
    allowed_text = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
    allowed = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
    odd = sorted({*(vision.keys() - allowed_vision), *(text.keys() - allowed_text), *(config.keys() - allowed)})
    if odd:
        raise ModelError(f"{model} is not a plain CLIP ViT (its configuration has {odd[0]}); not supported")
    if not isinstance(vision["layers"], int) or not isinstance(vision["image_size"], int):
        raise ModelError(f"{model} is not a plain CLIP ViT on square images; not supported")
    if vision["image_size"] % vision["patch_size"]:
        raise ModelError(f"{model}: patches of {vision['patch_size']} do not fill {vision['image_size']} pixels")


def _fill(clip: Any, state: Mapping[str, Tensor], trouble: str) -> None:
    """Copy a state dict into the model in fp32. Every name and shape must fit."""
    own = clip.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    for names, what in ((missing, "lacks"), (extra, "has the unknown"), (wrong, "has another shape for")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(f"{trouble}: it {what} {names[0]}{more}")
    clip.load_state_dict({name: value.float() for name, value in state.items()}, strict=True)
    if not all(bool(torch.isfinite(value).all()) for value in clip.state_dict().values()):
        raise ModelError(f"{trouble}: it has values that are not finite")


def _preprocessing(clip: Any) -> Preprocessing:
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return Preprocessing(image_size=clip.visual.image_size[0], mean=tuple(mean), std=tuple(std))


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip warns on the root logger that no weights were loaded, which here is the intention."""
    root = logging.getLogger()
    disabled = root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
