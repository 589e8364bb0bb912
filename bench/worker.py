"""The worker under load, through the SDK's own loop: against its ceiling, PyTorch, and the bare loop.

Two parts, each interleaved in rounds. With the model: closed loops of clients that ask for photographs, each
between two measurements of what encoder and decoder reach alone on the same cores, and beside the PyTorch
reference worker. With encoder and decoder replaced by a sleep: beside the SDK's loop with nothing but that
sleep in its handler.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench import contenders, imageserver, photos, report, torch_model
from bench.ceiling import Ceiling, Rate, mean
from bench.contenders import Contender
from bench.imageserver import Photos, Size
from bench.jobapi import JobApi, start_worker
from bench.load import Running, Worked
from bench.summary import AT_CLIENTS, Cell, conclude, table
from heimdex_clip.encoder import manifest

SIZES: tuple[Size, ...] = ((640, 360), (1920, 1080))
CLIENTS = (1, 16, 63, 64, 128)
PYTORCH_CLIENTS = (1, 4)
_STOP_TIMEOUT_S = 2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure: rounds, and seconds of a window by its kind.

    `target_rounds` more are of the clients that the targets speak of, and of the worker alone.
    """

    rounds: int
    target_rounds: int
    stub_rounds: int
    load_s: Mapping[int, float]
    stub_s: float
    encode_s: float
    decode_s: float


FULL = Plan(2, 5, 11, {1: 3, 4: 5, 16: 5, 63: 8, 64: 8, 128: 10}, stub_s=3, encode_s=2, decode_s=0.7)
QUICK = Plan(1, 1, 1, {1: 2, 4: 4, 16: 3, 63: 5, 64: 5, 128: 6}, stub_s=2, encode_s=1, decode_s=0.4)


async def run(model_dir: Path, checkpoint: Path | None, plan: Plan) -> int:
    """Measure, print, save; returns the exit code. Raises ClipError."""
    model = manifest.load(model_dir)
    checkpoint = torch_model.checkpoint(model, checkpoint)
    print(report.machine_line())
    print(
        f"model: {model.model} {model.pretrained}; {plan.rounds} rounds, closed loops of clients, and"
        f" {plan.target_rounds} more of {AT_CLIENTS} clients",
        flush=True,
    )
    async with imageserver.serving(SIZES) as served:
        cells, rates = await _with_model(
            served,
            contenders.ours(model_dir, image_port=served.port),
            contenders.pytorch(model, checkpoint=checkpoint),
            Ceiling(model_dir),
            plan,
        )
        cells += await _with_stub(served, model_dir, plan)
    print(table(cells))
    verdict = conclude(cells)
    settings = {"model": model.model, "pretrained": model.pretrained, "sizes": SIZES, "encode_by_batch": rates}
    report.save("worker", settings=settings, samples=[cell.as_json() for cell in cells], verdict=verdict)
    print(verdict.line)
    return verdict.exit_code


async def _with_model(
    served: Photos, own: Contender, theirs: Contender, ceiling: Ceiling, plan: Plan
) -> tuple[list[Cell], dict[int, float]]:
    """Every cell of the worker, each with its ceiling, and PyTorch's; the encoder's rate by batch size."""
    files = {size: photos.jpegs(*size) for size in SIZES}
    pixels = ceiling.pixels(files[SIZES[0]])
    by_batch = await asyncio.to_thread(ceiling.choose_batch_size, pixels, window_s=plan.encode_s)
    by_size = {size: round(rate.per_s, 2) for size, rate in by_batch.items()}
    print(f"the encoder alone, images/s by batch size: {by_size}", flush=True)

    async def alone(size: Size) -> tuple[Rate, Rate]:
        encode = await asyncio.to_thread(ceiling.encode, pixels, window_s=plan.encode_s)
        return encode, await asyncio.to_thread(ceiling.decode, files[size], window_s=plan.decode_s)

    cells: list[Cell] = []
    async with started(own) as worker, started(theirs) as pytorch:
        url = served.urls[SIZES[0]][0]
        contenders.check_same_vector(await worker.embedding(url), await pytorch.embedding(url))
        for turn in range(plan.rounds + plan.target_rounds):
            whole = turn < plan.rounds
            for size in _alternating(SIZES, turn):
                before = await alone(size)
                for clients in _alternating(CLIENTS, turn) if whole else (AT_CLIENTS,):
                    worked = await _load(worker, served, size, clients, plan.load_s[clients])
                    after = await alone(size)
                    encode, decode = (mean(*rates) for rates in zip(before, after, strict=True))
                    cells.append(Cell("worker", turn, size, worked, encode, decode))
                    before = after
                for clients in PYTORCH_CLIENTS if whole else ():
                    worked = await _load(pytorch, served, size, clients, plan.load_s[clients])
                    cells.append(Cell("pytorch", turn, size, worked))
    return cells, by_size


async def _with_stub(served: Photos, model_dir: Path, plan: Plan) -> list[Cell]:
    """The worker around a sleep, and the SDK's loop around the same sleep."""
    env = contenders.worker_env(model_dir, image_port=served.port)
    stub = Contender("stub worker", (sys.executable, "-m", "bench.stub_worker"), env)
    bare = Contender("bare loop", (sys.executable, "-m", "bench.stub_bare"), {})
    cells: list[Cell] = []
    async with started(stub) as stubbed, started(bare) as loop:
        for running in (stubbed, loop):
            await running.embedding(served.urls[SIZES[0]][0])
        for turn in range(plan.stub_rounds):
            for clients in _alternating(CLIENTS, turn):
                for running in _alternating((stubbed, loop), turn):
                    worked = await _load(running, served, SIZES[0], clients, plan.stub_s)
                    cells.append(Cell(running.contender.name, turn, SIZES[0], worked))
    return cells


def _alternating(values: Sequence[T], turn: int) -> Sequence[T]:
    """Backwards in every second round, so that no value always comes first."""
    return values[::-1] if turn % 2 else values


async def _load(running: Running, served: Photos, size: Size, clients: int, window_s: float) -> Worked:
    worked = await running.load(served.urls[size], clients=clients, window_s=window_s)
    load = worked.load
    print(
        f"  {running.contender.name:<11} {size[0]:>4}x{size[1]:<4} {clients:>3} clients:"
        f" {load.jobs_per_s:7.1f}/s  p50 {load.p50_ms:7.1f} ms  p99 {load.p99_ms:7.1f} ms"
        f"  {worked.cpu_ms:6.1f} CPU ms an image",
        flush=True,
    )
    return worked


@asynccontextmanager
async def started(contender: Contender) -> AsyncIterator[Running]:
    """A worker before a job API of its own, stopped at the end."""
    async with (
        JobApi() as api,
        start_worker(
            contender.argv,
            {**contender.env, **api.environment()},
            cwd=contenders.ROOT,
            stop_timeout_s=_STOP_TIMEOUT_S,
        ) as worker,
    ):
        yield Running(contender, api, worker)
