"""The section on scaling: by clients, by size, the knee, and the hottest lines."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench import scaling
from bench.markdown import Results, machine, rows
from bench.scaling import STAGES

_WORDS = {
    "wait_ms": "admission",
    "download_ms": "download",
    "decode_ms": "decoding",
    "queue_ms": "waiting for the encoder",
    "inference_ms": "the encoder's run of a batch",
}
_NEAR_FULL = 0.9


def scaling_tables(results: Results) -> str:
    """Clients, sizes, the knee, and the hottest lines."""
    result = results["scaling"]
    cells = [scaling.Cell(**{**cell, "size": tuple(cell["size"])}) for cell in result["samples"]]
    base = tuple(result["settings"]["base"])
    by_clients = [cell for cell in cells if cell.size == base]
    by_size = [cell for cell in cells if cell.size != base]
    top = max(_median(by_clients, "clients", "per_s").values())
    parts = [f"{machine(result)} The worker in the SDK's loop; medians of {len({c.turn for c in cells})} rounds."]
    first = _table(by_clients, lambda cell: cell.clients, "clients", top, "of the most images/s")
    largest = max(_median(by_size, "size", "per_s").values())
    second = _table(
        by_size, lambda cell: cell.size[0] * cell.size[1] / 1e6, "Mpx", largest, "of the smallest's images/s"
    )
    parts += [first, knee_sentence(by_clients), f"At {result['settings']['size_clients']} clients, by size:", second]
    parts += [size_sentence(by_size), _hottest(result["settings"]["profile"])]
    return "\n\n".join(parts)


def _median(cells: Sequence[scaling.Cell], by: str, figure: str) -> dict[Any, float]:
    groups: dict[Any, list[float]] = {}
    for cell in cells:
        groups.setdefault(getattr(cell, by), []).append(getattr(cell, figure))
    return {key: statistics.median(values) for key, values in sorted(groups.items())}


def _table(cells: Sequence[scaling.Cell], key: Callable[[scaling.Cell], float], name: str, top: float, of: str) -> str:
    lines = []
    for value in sorted({key(cell) for cell in cells}):
        group = [cell for cell in cells if key(cell) == value]
        stages = {stage: statistics.median(cell.stages_ms[stage] for cell in group) for stage in STAGES}
        total = sum(stages.values())
        lines.append(
            [
                f"{value:.1f}" if name == "Mpx" else f"{value:.0f}",
                f"{statistics.median(cell.per_s for cell in group) / top:.2f}",
                f"{statistics.median(cell.p99_ms / cell.p50_ms for cell in group):.2f}",
                f"{statistics.median(cell.busy for cell in group):.0%}",
                *(f"{stages[stage] / total:.0%}" for stage in STAGES),
            ]
        )
    return rows([name, of, "p99 / p50", "cores busy", *(_WORDS[stage] for stage in STAGES)], lines)


def knee(cells: Sequence[scaling.Cell]) -> tuple[int, str]:
    """The fewest clients that reach nine tenths of the most images/s, and the stage that grows most from there on."""
    rate = _median(cells, "clients", "per_s")
    at = min(clients for clients, value in rate.items() if value >= _NEAR_FULL * max(rate.values()))
    most = max(rate)

    def stages(clients: int) -> dict[str, float]:
        group = [cell for cell in cells if cell.clients == clients]
        return {stage: statistics.median(cell.stages_ms[stage] for cell in group) for stage in STAGES}

    before, after = stages(min(rate)), stages(most)
    return at, max(STAGES, key=lambda stage: after[stage] - before[stage])


def knee_sentence(cells: Sequence[scaling.Cell]) -> str:
    """The knee in words."""
    at, stage = knee(cells)
    return (
        f"The knee is at {at} clients. From there throughput is within a tenth of the most, and every further client"
        f" only waits. The stage that makes it is {_WORDS[stage]}, which grows most from one client to the most."
    )


def size_sentence(cells: Sequence[scaling.Cell]) -> str:
    """From which size on decoding takes the largest part of a job."""
    for size in sorted({cell.size for cell in cells}, key=lambda size: size[0] * size[1]):
        group = [cell for cell in cells if cell.size == size]
        stages = {stage: statistics.median(cell.stages_ms[stage] for cell in group) for stage in STAGES}
        if max(stages, key=lambda stage: stages[stage]) == "decode_ms":
            return f"From {size[0] * size[1] / 1e6:.1f} Mpx on, decoding takes the largest part of a job."
    return "At no size does decoding take the largest part of a job."


def _hottest(profile: Mapping[str, Any]) -> str:
    if profile["failure"] or not profile["samples"]:
        return f"No profile was taken: {profile['failure'] or 'not measured'}."
    listed = [
        f"{number}. `{line}`: {count / profile['samples']:.1%} of the samples"
        for number, (line, count) in enumerate(profile["lines"][:3], 1)
    ]
    return (
        "Where the saturated worker is (py-spy, 64 clients; [flame graph](plots/flame.svg)), by the innermost line of"
        " this project's own:\n\n" + "\n".join(listed)
    )
