"""The short form of the soak: the same traffic and code. The long form is ``make soak``."""

from __future__ import annotations

from pathlib import Path

from tests import tiny_model
from tests.soak.checks import check_structure
from tests.soak.plot import report
from tests.soak.soak import soak

SECONDS = 20


async def test_mixed_traffic_at_saturation(tmp_path: Path) -> None:
    found = await soak(tiny_model.build(tmp_path / "model"), seconds=SECONDS)
    print(f"\n{report(found, 'soak')}")
    check_structure(found)
    assert set(found.kinds) >= {"v1", "v2", "batch", "text", "bad signature", "missing", "bomb"}
