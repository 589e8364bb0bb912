"""What many tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, so that a red run is red again; `make fuzz` draws others, and more.
# A busy machine pauses for longer than Hypothesis's deadlines, and slow pictures are slow by nature.
settings.register_profile("check", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "explore", max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("check")

_REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """The test model's folder, ViT-B-32 with seeded weights; tests read it and never write to it."""
    folder = _REPOSITORY / "models" / "ViT-B-32-untrained-0"
    if not (folder / "manifest.json").is_file():
        pytest.fail(f"the test model is missing from {folder}: run `make model` first", pytrace=False)
    return folder
