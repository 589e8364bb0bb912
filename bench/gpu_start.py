"""Process start to the first embedding on one lane, through the SDK's own loop, and what RTX's cache saves of it."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from bench import contenders, imageserver, start
from bench.contenders import Contender
from bench.errors import BenchError

LANE, CACHE_DIR = "WORKER_RUNTIME", "ENGINE_CACHE_DIR"


async def first_embeddings(model_dir: Path, lane: str, *, rounds: int, image_port: int, url: str) -> list[float]:
    """Seconds of `rounds` starts, after one uncounted for files and bytecode. Raises BenchError."""
    worker = _worker(model_dir, image_port, {LANE: lane})
    seconds = [await _seconds(worker, url) for _ in range(1 + rounds)]
    return seconds[1:]


async def rtx_cache(
    model_dir: Path, *, rounds: int, image_port: int, url: str, lane: str = "tensorrt-rtx"
) -> dict[str, list[float]]:
    """Seconds of starts with an empty and with a warm ENGINE_CACHE_DIR. Raises BenchError."""

    async def begin(cache: Path) -> float:
        return await _seconds(_worker(model_dir, image_port, {LANE: lane, CACHE_DIR: str(cache)}), url)

    return await empty_and_warm(begin, rounds=rounds)


async def empty_and_warm(begin: Callable[[Path], Awaitable[float]], *, rounds: int) -> dict[str, list[float]]:
    """What `begin` takes with a folder that is empty, and again with the same folder, by pairs."""
    found: dict[str, list[float]] = {"empty": [], "warm": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="engine-cache-") as folder:
            for state in found.values():
                state.append(await begin(Path(folder)))
    return found


async def measure(model_dir: Path, lanes: tuple[str, ...], *, rounds: int) -> tuple[dict[str, list[float]], ...]:
    """The starts of each lane, and those of RTX's cache; none where it is not among the lanes, or does not start."""
    starts: dict[str, list[float]] = {}
    cache: dict[str, list[float]] = {}
    async with imageserver.serving([start.SIZE]) as photos:
        url = photos.urls[start.SIZE][0]
        for lane in lanes:
            try:
                starts[lane] = await first_embeddings(model_dir, lane, rounds=rounds, image_port=photos.port, url=url)
            except BenchError as error:
                print(f"no start on {lane}: {error}", flush=True)
        if "tensorrt-rtx" in starts:
            cache = await rtx_cache(model_dir, rounds=rounds, image_port=photos.port, url=url)
    return starts, cache


def _worker(model_dir: Path, image_port: int, env: Mapping[str, str]) -> Contender:
    ours = contenders.ours(model_dir, image_port=image_port)
    return replace(ours, name=f"worker on {env[LANE]}", env={**ours.env, **env})


async def _seconds(worker: Contender, url: str) -> float:
    measured, _ = await start.measure(worker, lambda: contenders.job_input(url))
    return measured.seconds
