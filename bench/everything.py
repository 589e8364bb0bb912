"""`make bench`: parity, the contest, scaling and other CPU lanes, then the document; about 20 minutes on two cores.

What fails is told and left out; what was measured until then is saved. The verdict on the goals comes last.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from bench import document, field, goals, imageserver, lanes, parity, peers_run, photos, report, scaling, torch_model
from bench.errors import BenchError
from bench.field import Field
from bench.parity import Parity
from bench.peers_run import Sample
from bench.ratios import Verdict
from heimdex_clip.encoder import manifest

SIZE = (640, 360)
T = TypeVar("T")


async def run(model_dir: Path, checkpoint: Path | None, *, quick: bool, write_document: bool) -> int:
    """Measure everything, print, save, write the document; the exit code. Raises ClipError."""
    # A contestant must not outlive a run that is told to end.
    own_task = asyncio.current_task()
    assert own_task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, own_task.cancel)
    model = manifest.load(model_dir)
    checkpoint = torch_model.checkpoint(model, checkpoint)
    print(report.machine_line())
    settings: dict[str, object] = {"model": f"{model.model} {model.pretrained}", "size": SIZE, "quick": quick}
    with tempfile.TemporaryDirectory() as scratch:
        images = []
        for number, data in enumerate(photos.jpegs(*SIZE)):
            images.append(Path(scratch) / f"{number}.jpg")
            images[-1].write_bytes(data)
        async with imageserver.serving([SIZE]) as served:
            found = await field.gather(model, model_dir, checkpoint, images, served.urls[SIZE], served.port)
            compared = await _told("parity", lambda: parity.run(found, Path(scratch) / "pictures", quick=quick))
            contest = peers_run.QUICK if quick else peers_run.FULL
            samples = await _told("the contest", lambda: peers_run.run(found, contest, settings)) or []
    await _told("scaling", lambda: scaling.run(model_dir, scaling.QUICK if quick else scaling.FULL))
    await _told("CPU lanes", lambda: lanes.run(model_dir, lanes.QUICK_ROUNDS if quick else lanes.ROUNDS, quick=quick))
    verdict = _judge(found, samples, compared, settings)
    if write_document:
        for path in document.write():
            print(f"wrote {path}")
    print(verdict.line)
    return verdict.exit_code


def _judge(found: Field, samples: list[Sample], compared: Parity | None, settings: dict[str, object]) -> Verdict:
    if not samples:
        raise BenchError("nothing could be measured")
    reached = goals.judge(samples, compared, found.installed_mb)
    verdict = goals.verdict(reached)
    peers_run.save(found, samples, settings, verdict)
    if compared is not None:
        parity.save(compared, verdict, quick=settings["quick"] is True)
    for name, reason in found.failures.items():
        print(f"not measured, or only in part: {name}: {reason}")
    for goal in reached:
        state = "held" if goal.holds else f"missed by {goal.missed_by}"
        print(f"{goal.target.name}: {goal.figure:.9g} (target {goal.target}): {state}; {goal.how}")
    return verdict


async def _told(what: str, work: Callable[[], Awaitable[T]]) -> T | None:
    started = time.monotonic()
    print(f"{what}:", flush=True)
    try:
        return await work()
    # One part's fault must not lose what the others measured.
    except Exception as error:  # noqa: BLE001
        print(f"{what} failed: {peers_run.reason(error)}", flush=True)
        return None
    finally:
        print(f"{what} took {time.monotonic() - started:.0f} s", flush=True)
