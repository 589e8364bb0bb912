"""The worker in the SDK's loop against the number of clients and the size of images, and where it spends its time."""

from __future__ import annotations

import asyncio
import json
import linecache
import re
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import contenders, environments, imageserver, report
from bench.contenders import Contender
from bench.entrants import Shape, driven
from bench.errors import BenchError
from bench.imageserver import Size
from bench.ratios import Verdict
from bench.servers import QueueEntrant
from heimdex_clip.encoder.cpus import available_cpus

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BASE: Size = (640, 360)
SIZES: tuple[Size, ...] = ((400, 250), (640, 480), (1152, 864), (1632, 1224), (2880, 2160), (4000, 3000), (6000, 4000))
"""0.1, 0.3, 1, 2, 6, 12 and 24 million pixels."""
SIZE_CLIENTS = 16
SATURATED = 64
STAGES = ("wait_ms", "download_ms", "decode_ms", "queue_ms", "inference_ms")
"""In a job's order: admission, download, decoding, waiting for the encoder, the encoder's run of the whole batch."""
FLAME = Path("docs/plots/flame.svg")
QUICK_FLAME = Path("build/bench/flame.svg")
_MANY = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds, seconds of a window, seconds of profiling."""

    rounds: int
    window_s: float
    profile_s: int


FULL = Plan(2, 3.0, 8)
QUICK = Plan(1, 1.0, 4)


@dataclass(frozen=True, slots=True)
class Cell:
    """One closed loop: its figures, the medians of each stage, and the share of all cores that the worker used."""

    turn: int
    clients: int
    size: tuple[int, int]
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    stages_ms: dict[str, float]
    busy: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Of the saturated worker: samples by line of this project's code, and how many samples there were."""

    lines: list[tuple[str, int]]
    samples: int
    failure: str = ""


async def run(model_dir: Path, plan: Plan) -> tuple[list[Cell], Profile]:
    """Measure and save. Raises BenchError when the worker fails."""
    cells: list[Cell] = []
    async with imageserver.serving([BASE, *SIZES]) as served:
        ours = contenders.ours(model_dir, image_port=served.port)
        env = {**ours.env, "MAX_IMAGE_SIZE_BYTES": str(40 << 20)}  # 24 million pixels may have more than 10 MB
        worker = QueueEntrant(Contender("worker, queue", ours.argv, env), served.urls[BASE], True, _MANY)
        await worker.start()
        try:
            for turn in range(plan.rounds):
                for clients, size in _alternating(turn):
                    cell = await _cell(worker, served.urls[size], size, clients, turn, plan.window_s)
                    cells.append(cell)
                save(cells, Profile([], 0), Verdict("unfinished", passed=False), quick=plan is QUICK)
            worker.urls = served.urls[BASE]
            profile = await _profiled(worker, plan.profile_s, QUICK_FLAME if plan is QUICK else FLAME)
        finally:
            await worker.stop()
    save(cells, profile, Verdict("measured", passed=True), quick=plan is QUICK)
    return cells, profile


def _alternating(turn: int) -> list[tuple[int, Size]]:
    """Every cell's clients and size, backwards in every second round."""
    cells = [*((clients, BASE) for clients in CLIENTS), *((SIZE_CLIENTS, size) for size in SIZES)]
    return cells[::-1] if turn % 2 else cells


async def _cell(
    worker: QueueEntrant, urls: Sequence[str], size: Size, clients: int, turn: int, window_s: float
) -> Cell:
    worker.urls = urls
    timings: list[dict[str, float]] = []

    async def call(number: int) -> None:
        job = await worker.job(number)
        timings.append(json.loads(b"{" + job.members + b"}")["output"]["timings"])

    try:
        figures = await driven(call, Shape("scaling", 1, clients, window_s), worker.pid)
    except* (TimeoutError, BenchError) as failed:
        raise BenchError(f"the worker at {clients} clients, {size}: {failed.exceptions[0]}") from None
    stages = {stage: statistics.median(one.get(stage, 0.0) for one in timings) for stage in STAGES}
    busy = figures.cpu_ms * figures.per_s / 1000 / available_cpus()
    cell = Cell(turn, clients, size, figures.per_s, figures.p50_ms, figures.p99_ms, figures.cpu_ms, stages, busy)
    print(
        f"  scaling, round {turn + 1}  {clients:>3} clients  {size[0]:>4}x{size[1]:<4}  {cell.per_s:6.1f}/s"
        f"  p99 {cell.p99_ms:7.0f} ms  busy {busy:.2f}  "
        + "  ".join(f"{stage} {value:.0f}" for stage, value in stages.items()),
        flush=True,
    )
    return cell


async def _profiled(worker: QueueEntrant, seconds: int, flame: Path) -> Profile:
    """py-spy on the worker under 64 clients: a flame graph, then the stacks by line."""
    stacks = environments.ROOT / "build" / "bench" / "stacks.txt"
    stacks.parent.mkdir(parents=True, exist_ok=True)

    async def call(number: int) -> None:
        await worker.job(number)

    load = asyncio.create_task(driven(call, Shape("profile", 1, SATURATED, 2 * seconds + 4), worker.pid))
    try:
        for form, path in (("flamegraph", environments.ROOT / flame), ("raw", stacks)):
            path.parent.mkdir(parents=True, exist_ok=True)
            await _py_spy(worker.pid, form, path, seconds)
        return hottest(stacks.read_text())
    except BenchError as error:
        print(f"  no profile: {error.message}", flush=True)
        return Profile([], 0, error.message)
    finally:
        load.cancel()
        with suppress(asyncio.CancelledError, BaseExceptionGroup):
            await load


async def _py_spy(pid: int, form: str, path: Path, seconds: int) -> None:
    command = str(Path(sys.executable).parent / "py-spy")
    options = ("--pid", str(pid), "--duration", str(seconds), "--rate", "100", "--format", form, "--output", str(path))
    await environments.run(command, "record", *options, "--nonblocking", timeout_s=seconds + 60)
    _without_folders(path, command)


def _without_folders(path: Path, command: str) -> None:
    """The graph's title is the command, with this machine's folders in it."""
    path.write_text(path.read_text().replace(command, "py-spy").replace(f"{environments.ROOT}/", ""))


_FRAME = re.compile(r"^(?P<name>.+) \((?P<file>[^()]+\.py):(?P<line>\d+)\)$")


def hottest(stacks: str) -> Profile:
    """From py-spy's raw form, ``frame;frame;... count`` a line: samples by the innermost frame of this project."""
    found: Counter[str] = Counter()
    total = 0
    for stack in stacks.splitlines():
        frames, _, number = stack.rpartition(" ")
        if not number.isdigit():
            continue
        total += int(number)
        for frame in reversed(frames.split(";")):
            match = _FRAME.match(frame)
            file = _own_file(match["file"]) if match else None
            if match and file:
                code = linecache.getline(str(environments.ROOT / file), int(match["line"])).strip()
                found[f"{file}:{match['line']} {code or match['name']}"] += int(number)
                break
    return Profile(found.most_common(8), total)


def _own_file(path: str) -> str | None:
    """The path below the repository for this project's packages, None for any other file."""
    for package in ("heimdex_clip", "worker"):
        if f"{package}/" in path and "site-packages" not in path:
            return package + "/" + path.rpartition(f"{package}/")[2]
    return None


def save(cells: Sequence[Cell], profile: Profile, verdict: Verdict, *, quick: bool) -> None:
    """``bench/results/scaling.json``."""
    settings = {"size_clients": SIZE_CLIENTS, "base": BASE, "profile": asdict(profile)}
    report.save(
        report.target("scaling", quick=quick),
        settings=settings,
        samples=[asdict(cell) for cell in cells],
        verdict=verdict,
    )
