"""A CLIP of the real architecture in miniature, so that whole exports take seconds."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest

from export import build
from export.progress import Progress
from export.weights import Source, Weights, resolve
from tests.export.support import TINY, quiet


@pytest.fixture(scope="session", autouse=True)
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The miniature's name, known to open_clip through its own registry of configurations."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    }
    path = tmp_path_factory.mktemp("configs") / f"{TINY}.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    return TINY


@pytest.fixture(scope="session")
def progress() -> Progress:
    """Progress that nobody reads."""
    return quiet()


@pytest.fixture(scope="session")
def tiny_weights(tiny_model: str, tmp_path_factory: pytest.TempPathFactory, progress: Progress) -> Weights:
    """Seeded weights of the miniature, with QuickGELU."""
    source = Source(model=tiny_model, untrained=0, quick_gelu=True)
    return resolve(source, cache=tmp_path_factory.mktemp("cache"), progress=progress)


@pytest.fixture(scope="session")
def tiny_folder(tiny_weights: Weights, tmp_path_factory: pytest.TempPathFactory, progress: Progress) -> Path:
    """The miniature's whole model folder; tests read it and never write to it."""
    out = tmp_path_factory.mktemp("models") / "tiny"
    build.build(tiny_weights, out, progress)
    return out
