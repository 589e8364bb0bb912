"""What many tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """The test model's folder, ViT-B-32 with seeded weights; tests read it and never write to it."""
    folder = _REPOSITORY / "models" / "ViT-B-32-untrained-0"
    if not (folder / "manifest.json").is_file():
        pytest.fail(f"the test model is missing from {folder}: run `make model` first", pytrace=False)
    return folder
