"""Checkpoint files of three kinds -> a state dict, without ever running code that lies in them.

TorchScript archives (OpenAI's `.pt`) are read by torch's own reader, `.bin` and `.pt` by
``torch.load(weights_only=True)``, `.safetensors` holds nothing but tensors. The kind is told by content.
"""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from heimdex_clip.errors import ModelError

# OpenAI's archives carry these beside the weights.
_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}


def sha256_of(path: Path) -> str:
    """The file's sha256, 64 hex digits. Raises ModelError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror})") from None


def read(path: Path) -> dict[str, Tensor]:
    """The file's weights by open_clip's names. Raises ModelError when it is none of the three kinds."""
    try:
        state = _unwrap(_load(path))
    except pickle.UnpicklingError:
        # torch's own message ends by advising to load it unsafely.
        raise ModelError(f"{path} holds more than tensors, and code in it is never run") from None
    except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise ModelError(f"{path} cannot be read as a checkpoint: {reason}") from None
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path} holds no state dict")
    return state


def _load(path: Path) -> object:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            scripted = any(Path(name).name == "constants.pkl" for name in archive.namelist())
        if scripted:
            with warnings.catch_warnings():
                # TorchScript is deprecated; OpenAI's published files will remain in it.
                warnings.simplefilter("ignore", FutureWarning)
                # Its unpickler is C++ and knows tensors and TorchScript classes only; no method is called here.
                return torch.jit.load(str(path), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    elif _is_safetensors(path):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path, device="cpu")
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of header length, then the header's JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _unwrap(loaded: object) -> dict[str, Tensor]:
    """Training checkpoints wrap the weights, and data-parallel ones prefix every name."""
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping):
        raise ValueError(f"it holds a {type(loaded).__name__}, not a state dict")
    state = {str(name): value for name, value in loaded.items()}
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return {name: value for name, value in state.items() if name not in _NOT_WEIGHTS}
