"""PyTorch as the reference of the GPU's tests: open_clip's own model in fp32, and its profiler."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.reference import Reference
from tests.gpu.checks import copies_to_device


def image_vectors(model: Reference, pixels: NDArray[np.uint8], device: str) -> NDArray[np.float32]:
    """uint8 pixels -> float32 vectors, on the device that holds the model."""
    mean = torch.tensor(model.weights.preprocessing.mean, device=device)[:, None, None]
    std = torch.tensor(model.weights.preprocessing.std, device=device)[:, None, None]
    with torch.inference_mode():
        planes = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
        vectors: torch.Tensor = model.weights.clip.encode_image((planes - mean) / std)
        return vectors.float().cpu().numpy()


def text_vectors(model: Reference, texts: Sequence[str], device: str) -> NDArray[np.float32]:
    """Texts -> float32 vectors, on the device that holds the model."""
    ids = torch.from_numpy(model.text_ids(texts)).to(device)
    with torch.inference_mode():
        vectors: torch.Tensor = model.weights.clip.encode_text(ids)
        return vectors.float().cpu().numpy()


def copies_during(run: Callable[[], object], folder: Path) -> list[int]:
    """The bytes of every copy to the device while `run` runs, by any library of this process."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    path = folder / "trace.json"
    profile.export_chrome_trace(str(path))
    return copies_to_device(json.loads(path.read_text()))
