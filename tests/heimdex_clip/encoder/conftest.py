from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny_model


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model folder in miniature, free to be spoilt."""
    return tiny_model.build(tmp_path / "tiny")
