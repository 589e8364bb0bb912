"""The generated sections of docs/performance.md, each from its file of samples. Same samples, same text."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from bench import goals
from bench.field import LEFT_OUT, OURS, OWN, OWN_HTTP
from bench.goals import Goal
from bench.lanes import BASE, conclusion, gains
from bench.markdown import Results, machine, rows, shown
from bench.parity import Parity, Row
from bench.peers_run import BATCH, CLIENTS, MEMORY, SINGLE, START, Sample
from bench.ratios import paired
from bench.scalingtables import scaling_tables

CPU_USD_PER_HOUR = 0.10
"""Assumed: two vCPUs of a common cloud, on demand."""


def samples_of(result: Mapping[str, Any]) -> list[Sample]:
    """The contest's."""
    return [Sample(**sample) for sample in result["samples"]]


def peers(results: Results) -> str:
    """Everybody over the library of this project."""
    result = results["peers"]
    samples = samples_of(result)
    size, lines = result["settings"]["installed_mb"], []
    columns = ((START, ""), (SINGLE.name, "p50_ms"), (SINGLE.name, "p99_ms"), (BATCH.name, "per_s"))
    more = ((CLIENTS.name, "per_s"), (CLIENTS.name, "cpu_ms"))
    for name in goals.names(samples):
        cells = [shown(goals.ratio(samples, name, OWN, measure, figure)) for measure, figure in (*columns, *more)]
        memory = goals.by_turn(samples, name, MEMORY)
        rss = f"{statistics.median(memory.values()):.0f}" if memory else "-"
        lines.append(
            [f"**{name}**" if name in OURS else name, *cells, rss, f"{size[name]:.0f}" if name in size else "-"]
        )
    header = [
        "over `heimdex_clip` as a library",
        "start",
        "p50, one image",
        "p99, one image",
        "images/s, batch 32",
        "images/s, 64 clients",
        "CPU an image, 64 clients",
        "peak RSS, MB",
        "installed, MB",
    ]
    out = [f"- {name}: {reason}" for name, reason in {**result["settings"]["failures"], **LEFT_OUT}.items()]
    return (
        f"{machine(result)} Median of the rounds' ratios, lowest and highest in brackets; less is better for times,"
        f" CPU, memory and size, more for images/s.\n\n{rows(header, lines)}\n\nNot in the table, or only in part:\n\n"
        + "\n".join(out)
    )


def judged(results: Results) -> list[Goal]:
    """The goals over the samples as they lie."""
    found = parity_of(results)
    result = results["peers"]
    return goals.judge(samples_of(result), found, result["settings"]["installed_mb"])


def parity_of(results: Results) -> Parity | None:
    """The parity samples, None without them."""
    if "parity" not in results:
        return None
    said = results["parity"]
    return Parity(
        [Row(**row) for row in said["samples"]], said["settings"]["images"], [], said["settings"]["equal_bytes"]
    )


def goal_table(results: Results) -> str:
    """Each goal with its figure, and by how much it is missed."""
    lines = []
    for goal in judged(results):
        held = "held" if goal.holds else f"missed by {goal.missed_by}"
        figure = f"{goal.figure:.9f}" if goal.target == goals.COSINE else f"{goal.figure:.2f}"
        lines.append([goal.target.name, figure, str(goal.target), held, goal.how])
    return rows(["goal", "figure", "target", "verdict", "spread, and against whom"], lines)


def parity_table(results: Results) -> str:
    """Every entrant's nearness to open_clip."""
    result = results["parity"]
    found = parity_of(results)
    assert found is not None
    lines = []
    for what in ("images", "texts"):
        for row in found.rows:
            if row.what != what:
                continue
            held = [value for value in row.cosine if value is not None]
            apart = [value for value in row.max_abs if value is not None]
            cells = [
                f"{min(held):.7f}",
                f"{statistics.median(held):.7f}",
                f"{max(apart):.1e}",
                f"{sum(value < 0.999999 for value in held)} of {len(held)}",
                str(len(row.cosine) - len(held)),
            ]
            lines.append([f"**{row.entrant}**" if row.entrant in OURS else row.entrant, what, *cells])
    header = ["against open_clip", "of", "lowest cosine", "median", "largest difference", "below 0.999999", "refused"]
    return (
        f"{machine(result)} Preprocessed bytes equal open_clip's on {found.equal_bytes} of {len(found.names)} images."
        f"\n\n{rows(header, lines)}"
    )


def cost(results: Results) -> str:
    """Per 1,000 images: the formula, the CPU from the samples, and GPUs that nobody has measured."""
    from deploy import figures

    prices = figures.load().usd_per_hour
    samples = samples_of(results["peers"])
    rate = statistics.median(goals.by_turn(samples, OWN_HTTP, CLIENTS.name).values())
    usd = usd_per_1000(CPU_USD_PER_HOUR, rate)
    lines = [["this machine's 2 cores", f"{CPU_USD_PER_HOUR:.2f} (assumed)", "64 clients over HTTP", f"{usd:.4f}"]]
    lines += [[pool, f"{price:.2f} (list price)", "not measured", "not measured"] for pool, price in prices.items()]
    return (
        "`$ per 1,000 images = $ per hour / (images a second x 3.6)`, a worker that is busy all the time.\n\n"
        + rows(["worker", "$ an hour", "throughput", "$ per 1,000 images"], lines)
    )


def usd_per_1000(usd_per_hour: float, per_s: float) -> float:
    """A busy worker's price of 1,000 images."""
    return usd_per_hour / (per_s * 3.6)


def lane_table(results: Results) -> str:
    """Other ways to run the graph on a CPU."""
    result = results["lanes"]
    samples = result["samples"]
    lines = []
    for lane, cosines in samples["cosines"].items():
        found = gains(samples, lane)
        lines.append([lane, *(shown(found[batch]) for batch in sorted(found)), f"{min(cosines):.7f}"])
    header = [f"images/s over {BASE}", *(f"batch {batch}" for batch in (1, 8, 32)), "lowest cosine"]
    return f"{machine(result)}\n\n{rows(header, lines)}\n\n{conclusion(samples)}."


def start(results: Results) -> str:
    """`make bench-start`."""
    result = results["start"]
    seconds: dict[str, list[float]] = {}
    for sample in result["samples"]:
        seconds.setdefault(sample["worker"], []).append(sample["seconds"])
    ratio = paired(seconds["pytorch"], seconds["worker"])
    return (
        f"{machine(result)} From process start to the first job answered, the SDK's import, hashing the model and the"
        f" self-test included, the PyTorch worker takes {shown(ratio)} times as long as this one over {ratio.pairs}"
        f" pairs (target 5: {'held' if ratio.median >= 5 else 'missed'})."
    )


def worker(results: Results) -> str:
    """`make bench-worker`: each of its targets with the spread, by size and by number of clients."""
    result = results["worker"]
    loads: dict[tuple[str, tuple[int, int], int], list[Mapping[str, Any]]] = {}
    for sample in result["samples"]:
        key = sample["name"], tuple(sample["size"]), sample["worked"]["load"]["clients"]
        loads.setdefault(key, []).append(sample)

    def rates(name: str, size: tuple[int, int], clients: int) -> list[float]:
        return [sample["worked"]["load"]["jobs_per_s"] for sample in loads[name, size, clients]]

    counts = sorted({clients for name, _, clients in loads if name == "worker"})
    sizes = sorted({size for name, size, _ in loads if name == "worker"})
    lines = []
    for size in sizes:
        of_ceiling = {n: [sample["ceiling_per_s"] for sample in loads["worker", size, n]] for n in counts}
        ratios = [shown(paired(rates("worker", size, n), of_ceiling[n])) for n in counts]
        lines.append([f"of what encoding plus one decode allow, {size[0]}x{size[1]}", *ratios])
    bare = [shown(paired(rates("stub worker", sizes[0], n), rates("bare loop", sizes[0], n))) for n in counts]
    lines.append(["of the bare SDK loop, encoder and decoder replaced by 5 ms of sleep", *bare])
    header = ["images/s of the worker", *(f"{n} client{'s' if n > 1 else ''}" for n in counts)]
    return f"{machine(result)}\n\n{rows(header, lines)}\n\nIts verdict: {result['verdict']}."


def preprocess(results: Results) -> str:
    """`make bench-preprocess`: its own verdict."""
    result = results["preprocess"]
    return f"{machine(result)} Its verdict: {result['verdict']}."


SECTIONS: dict[str, tuple[tuple[str, ...], Callable[[Results], str]]] = {
    "start": (("start",), start),
    "worker": (("worker",), worker),
    "preprocess": (("preprocess",), preprocess),
    "goals": (("peers", "parity"), goal_table),
    "peers": (("peers",), peers),
    "parity": (("parity",), parity_table),
    "scaling": (("scaling",), scaling_tables),
    "cost": (("peers",), cost),
    "lanes": (("lanes",), lane_table),
}
"""Marker in the document -> the results that it needs, and what it says."""
