"""Starts on a lane through the SDK, and the two states of RTX's cache."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench import gpu_start


async def test_a_lane_is_started_through_the_sdk_and_one_that_cannot_is_named(
    model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cpu lane in place of a GPU's; the worker refuses a lane that it does not know."""
    before = time.monotonic()
    starts, cache = await gpu_start.measure(model_dir, ("cpu", "no-such-lane"), rounds=1)
    assert list(starts) == ["cpu"]
    (seconds,) = starts["cpu"]
    assert 0 < seconds < time.monotonic() - before
    assert cache == {}
    assert "no start on no-such-lane: worker on no-such-lane gave no answer" in capsys.readouterr().out


async def test_a_cache_is_empty_once_and_then_warm() -> None:
    seen: list[tuple[Path, bool]] = []

    async def begin(folder: Path) -> float:
        seen.append((folder, (folder / "compiled").exists()))
        (folder / "compiled").touch()
        return float(len(seen))

    assert await gpu_start.empty_and_warm(begin, rounds=2) == {"empty": [1.0, 3.0], "warm": [2.0, 4.0]}
    assert [warm for _, warm in seen] == [False, True, False, True]
    assert seen[0][0] == seen[1][0] != seen[2][0]
    assert not any(folder.exists() for folder, _ in seen)


def test_the_worker_is_told_lane_and_cache(model_dir: Path) -> None:
    env = gpu_start._worker(model_dir, 80, {gpu_start.LANE: "tensorrt-rtx", gpu_start.CACHE_DIR: "/cache"}).env
    assert env["WORKER_RUNTIME"] == "tensorrt-rtx"
    assert env["ENGINE_CACHE_DIR"] == "/cache"
    assert env["CLIP_MODEL_DIR"] == str(model_dir)
