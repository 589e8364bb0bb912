"""The contest: start, one image at a time, batches of 32 and 64 clients, in interleaved rounds on the same cores."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench import ratios, report
from bench.entrants import Entrant, Measured, Shape, peak_rss_mb
from bench.errors import BenchError
from bench.field import Field
from bench.peers.protocol import why

SINGLE = Shape("single", batch=1, clients=1, window_s=3)
BATCH = Shape("batch 32", batch=32, clients=1, window_s=3)
CLIENTS = Shape("64 clients", batch=1, clients=64, window_s=4)
START = "start"
MEMORY = "memory"
SHAPES = (SINGLE, BATCH, CLIENTS)
_PAUSE_S = 0.3


@dataclass(frozen=True, slots=True)
class Plan:
    """How many rounds, and by what the windows' seconds are multiplied."""

    rounds: int
    windows: float


FULL = Plan(3, 1.0)
QUICK = Plan(1, 0.35)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one entrant in one round; figures by their names, units in them."""

    turn: int
    entrant: str
    measure: str
    figures: dict[str, float]


async def run(found: Field, plan: Plan, settings: dict[str, object]) -> list[Sample]:
    """Every round; the samples so far are saved after each measure, and an entrant that fails is out from there on.

    Each is started once before, uncounted, so that files and bytecode are cached for all.
    """
    samples: list[Sample] = []

    def keep(turn: int, entrant: Entrant, measure: str, figures: dict[str, float]) -> None:
        samples.append(Sample(turn, entrant.name, measure, figures))
        shown = "  ".join(f"{name} {figure:.1f}" for name, figure in figures.items() if name != "images")
        print(f"  round {turn + 1}  {measure:<10} {entrant.name:<26} {shown}", flush=True)

    for entrant in found.entrants:
        await _start_alone(found, entrant)
    for turn in range(plan.rounds):
        entrants = found.entrants[::-1] if turn % 2 else found.entrants
        for entrant in _still(found, entrants):
            seconds = await _start_alone(found, entrant)
            if seconds is not None:
                keep(turn, entrant, START, {"seconds": seconds})
        running = _still(found, entrants)
        try:
            for entrant in running:
                await _start(found, entrant)
            for shape in SHAPES:
                for entrant in _still(found, running):
                    figures = await _load(found, entrant, shape, plan)
                    if figures is not None:
                        keep(turn, entrant, shape.name, asdict(figures))
                save(found, samples, settings, ratios.Verdict("unfinished", passed=False))
            for entrant in _still(found, running):
                keep(turn, entrant, MEMORY, {"peak_rss_mb": peak_rss_mb(entrant.pid)})
        finally:
            for entrant in running:
                await entrant.stop()
    return samples


def _still(found: Field, entrants: Sequence[Entrant]) -> list[Entrant]:
    return [entrant for entrant in entrants if entrant.name not in found.failures]


async def _start_alone(found: Field, entrant: Entrant) -> float | None:
    """Seconds of a start with no other entrant running: what they hold in memory would weigh on the later ones."""
    try:
        return await _start(found, entrant)
    finally:
        await entrant.stop()


async def _start(found: Field, entrant: Entrant) -> float | None:
    try:
        return await entrant.start()
    # A contestant's fault of any kind is a result, and never ends the others' run.
    except Exception as error:  # noqa: BLE001
        await _out(found, entrant, error)
        return None


async def _load(found: Field, entrant: Entrant, shape: Shape, plan: Plan) -> Measured | None:
    await asyncio.sleep(_PAUSE_S)
    try:
        return await entrant.load(Shape(shape.name, shape.batch, shape.clients, shape.window_s * plan.windows))
    except Exception as error:  # noqa: BLE001
        await _out(found, entrant, error)
        return None


async def _out(found: Field, entrant: Entrant, error: Exception) -> None:
    found.failures[entrant.name] = reason(error)
    print(f"  {entrant.name} is out: {reason(error)}", flush=True)
    await entrant.stop()


def reason(error: Exception) -> str:
    """A failure in one line, the bench's own without its type."""
    return error.message if isinstance(error, BenchError) else why(error)


def save(found: Field, samples: Sequence[Sample], settings: dict[str, object], verdict: ratios.Verdict) -> None:
    """``bench/results/peers.json``, complete or not."""
    more = {**settings, "failures": found.failures, "installed_mb": found.installed_mb}
    name = report.target("peers", quick=settings["quick"] is True)
    report.save(name, settings=more, samples=[asdict(sample) for sample in samples], verdict=verdict)
