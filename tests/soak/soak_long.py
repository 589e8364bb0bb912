"""The long form, for ``make soak``: SOAK_MINUTES minutes, 20 where that is not set.

Most of it runs on the model in miniature: what leaks, leaks by the job and not by the FLOP, and so a hundred thousand
jobs pass. A tenth of the time runs on the real model, for what only its runtime holds; too few jobs pass there for a
slope, which is printed and not held.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import tiny_model
from tests.soak.checks import check_long, check_structure
from tests.soak.plot import report, save
from tests.soak.soak import soak

SECONDS = 60 * float(os.environ.get("SOAK_MINUTES", "20"))
PLOTS = Path(__file__).parents[2] / "build" / "soak"


@pytest.mark.timeout(SECONDS + 300)
async def test_the_model_in_miniature(tmp_path: Path) -> None:
    found = await soak(tiny_model.build(tmp_path / "model"), seconds=0.9 * SECONDS)
    print(f"\n{report(found, 'soak')}")
    save(found, PLOTS / "soak.png", "soak, model in miniature")
    check_long(found)


@pytest.mark.timeout(SECONDS + 300)
async def test_the_real_model(model_dir: Path) -> None:
    found = await soak(model_dir, seconds=0.1 * SECONDS)
    print(f"\n{report(found, 'soak, real model')}")
    save(found, PLOTS / "soak-real-model.png", "soak, real model")
    check_structure(found)
