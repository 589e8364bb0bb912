from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench import peers_run, report
from bench.entrants import Entrant, Measured, Shape
from bench.errors import BenchError
from bench.field import Field
from bench.peers_run import Plan


class _Entrant:
    """Gives fixed figures; fails where it is told to, with whatever it is told to raise."""

    def __init__(self, name: str, fails: dict[str, Exception] | None = None) -> None:
        self.name = name
        self.pid = os.getpid()
        self.running = False
        self._fails = fails or {}

    async def start(self) -> float:
        """Seconds."""
        if "start" in self._fails:
            raise self._fails["start"]
        self.running = True
        return 1.5

    async def load(self, shape: Shape) -> Measured | None:
        """The same for every shape, and nothing for batches of the one that has none."""
        assert self.running
        if shape.name in self._fails:
            raise self._fails[shape.name]
        return None if shape.batch > 1 and self.name == "single" else Measured(10, 20.0, 1.0, 2.0, 3.0)

    async def stop(self) -> None:
        """End."""
        self.running = False


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(peers_run, "_PAUSE_S", 0)
    return tmp_path


async def test_one_that_fails_is_out_with_its_reason_and_the_others_go_on(results: Path) -> None:
    good, single = _Entrant("good"), _Entrant("single")
    unable = _Entrant("unable", {"start": BenchError("not today")})
    dying = _Entrant("dying", {peers_run.CLIENTS.name: RuntimeError("gone\nwith a second line")})
    entrants: list[Entrant] = [good, unable, dying, single]
    found = Field(entrants, {"never": "not installed"})

    samples = await peers_run.run(found, Plan(2, 0.01), {"quick": False})

    assert found.failures == {"never": "not installed", "unable": "not today", "dying": "RuntimeError: gone"}
    of = {name: [(s.turn, s.measure) for s in samples if s.entrant == name] for name in ("good", "dying", "single")}
    measures = ["start", "single", "batch 32", "64 clients", "memory"]
    assert of["good"] == [(turn, measure) for turn in (0, 1) for measure in measures]
    assert of["dying"] == [(0, "start"), (0, "single"), (0, "batch 32")]
    assert (0, "batch 32") not in of["single"]
    assert not any(entrant.running for entrant in (good, unable, dying, single))


async def test_samples_are_saved_on_the_way_as_unfinished(results: Path) -> None:
    broken = _Entrant("good", {peers_run.CLIENTS.name: KeyboardInterrupt()})  # type: ignore[dict-item]  # as by a person

    with pytest.raises(KeyboardInterrupt):
        await peers_run.run(Field([broken]), Plan(1, 0.01), {"quick": True})

    saved = json.loads((results / "peers-quick.json").read_text())
    assert saved["verdict"] == "unfinished"
    assert [sample["measure"] for sample in saved["samples"]] == ["start", "single", "batch 32"]
    assert not broken.running
