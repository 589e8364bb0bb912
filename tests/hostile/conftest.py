from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder in miniature; tests read it and never write to it."""
    return tiny_model.build(tmp_path_factory.mktemp("model") / "tiny")
