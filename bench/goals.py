"""What the contest has to show, held against its samples: each goal, its figure, and by how much it is missed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import parity, ratios
from bench.field import FASTEMBED, INFINITY, MODERN, NOT_PEERS, OWN, OWN_HTTP, OWN_QUEUE, PYTORCH
from bench.parity import Parity
from bench.peers_run import BATCH, CLIENTS, MEMORY, SINGLE, START, Sample
from bench.ratios import Ratio, Target, Verdict

START_PYTORCH = Target("start, PyTorch worker / worker", at_least=5)
START_PEER = Target("start, library / quickest peer", at_most=1)
THROUGHPUT = Target("64 clients, worker over HTTP / best peer", at_least=1.15)
LATENCY = Target("p50 of one image, library / best peer", at_most=1)
BYTES = Target("images whose preprocessed bytes are equal, of all", at_least=1)
COSINE = Target("lowest cosine of the images", at_least=0.999999)
NEARER = Target("images on which a peer is nearer", at_most=0)
SIZE = Target("installed size, library / smallest other library", at_most=1)
LIBRARIES = (FASTEMBED, MODERN, INFINITY)
FIGURES = {START: "seconds", SINGLE.name: "p50_ms", BATCH.name: "per_s", CLIENTS.name: "per_s", MEMORY: "peak_rss_mb"}
"""What of a measure is compared."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal with its figure and, where it helps, how it came about."""

    target: Target
    figure: float
    how: str

    @property
    def holds(self) -> bool:
        """Whether it is reached."""
        return self.target.holds(self.figure)

    @property
    def missed_by(self) -> str:
        """Empty when it is reached."""
        if self.holds:
            return ""
        limit = self.target.at_least if self.target.at_least is not None else self.target.at_most
        assert limit is not None
        return f"{abs(self.figure / limit - 1):.1%}" if limit else f"{self.figure:g}"


def by_turn(samples: Sequence[Sample], entrant: str, measure: str, figure: str = "") -> dict[int, float]:
    """Round -> one figure of one entrant."""
    wanted = figure or FIGURES[measure]
    return {s.turn: s.figures[wanted] for s in samples if s.entrant == entrant and s.measure == measure}


def ratio(samples: Sequence[Sample], above: str, below: str, measure: str, figure: str = "") -> Ratio | None:
    """One entrant over another, paired by the rounds that both have; None without any."""
    first, second = (by_turn(samples, name, measure, figure) for name in (above, below))
    turns = sorted(first.keys() & second.keys())
    return ratios.paired([first[turn] for turn in turns], [second[turn] for turn in turns]) if turns else None


def names(samples: Iterable[Sample]) -> list[str]:
    """Every entrant that has samples, as they first came."""
    return list(dict.fromkeys(sample.entrant for sample in samples))


def best_peer(samples: Sequence[Sample], measure: str, *, most: bool) -> str | None:
    """The peer with the highest (or lowest) median; None when no peer was measured."""
    medians = {
        name: statistics.median(figures.values())
        for name in names(samples)
        if name not in NOT_PEERS and (figures := by_turn(samples, name, measure))
    }
    return (max if most else min)(medians, key=lambda name: medians[name]) if medians else None


def judge(samples: Sequence[Sample], found: Parity | None, installed_mb: Mapping[str, float]) -> list[Goal]:
    """Every goal; one that could not be measured counts as missed, with NaN for its figure."""
    goals = [_of(START_PYTORCH, ratio(samples, PYTORCH, OWN_QUEUE, START), "the SDK's loop on both sides")]
    for target, measure, own, most in (
        (START_PEER, START, OWN, False),
        (THROUGHPUT, CLIENTS.name, OWN_HTTP, True),
        (LATENCY, SINGLE.name, OWN, False),
    ):
        peer = best_peer(samples, measure, most=most)
        against = ratio(samples, own, peer, measure) if peer else None
        goals.append(_of(target, against, f"the best is {peer}"))
    goals += _parity(found)
    others = {name: installed_mb[name] for name in LIBRARIES if name in installed_mb}
    if others and OWN in installed_mb:
        smallest = min(others, key=lambda name: others[name])
        how = f"{installed_mb[OWN]:.0f} MB against {others[smallest]:.0f} MB of {smallest}"
        goals.append(Goal(SIZE, installed_mb[OWN] / others[smallest], how))
    else:
        goals.append(Goal(SIZE, float("nan"), "not measured"))
    return goals


def _of(target: Target, found: Ratio | None, how: str) -> Goal:
    if found is None:
        return Goal(target, float("nan"), "not measured")
    return Goal(target, found.median, f"{spread(found)}; {how}")


def spread(found: Ratio) -> str:
    """The lowest and the highest pair."""
    return f"{found.lowest:.2f} to {found.highest:.2f} over {found.pairs} pairs"


def _parity(found: Parity | None) -> list[Goal]:
    own = [row for row in found.rows if row.entrant == OWN and row.what == "images"] if found else []
    if found is None or not own:
        return [Goal(target, float("nan"), "not measured") for target in (BYTES, COSINE, NEARER)]
    (mine,) = own
    held = [value for value in mine.cosine if value is not None]
    lowest = min(held) if len(held) == len(mine.cosine) else float("nan")
    peers = [row for row in found.rows if row.what == "images" and row.entrant not in NOT_PEERS]
    nearer = {row.entrant: parity.nearer(mine, row) for row in peers}
    everywhere = sorted({index for indices in nearer.values() for index in indices})
    apart = [value for value in mine.max_abs if value is not None]
    worst = max((apart[index] for index in everywhere), default=0.0)
    most = max(nearer, key=lambda name: len(nearer[name]), default="")
    how = f"most by {most}; there this project is {worst:.1e} from the reference at most" if everywhere else "none"
    total = len(found.names)
    return [
        Goal(BYTES, found.equal_bytes / total, f"{found.equal_bytes} of {total}"),
        Goal(COSINE, lowest, f"1 - {1 - lowest:.1e}"),
        Goal(NEARER, float(len(everywhere)), how),
    ]


def verdict(goals: Sequence[Goal]) -> Verdict:
    """All of them on one line."""
    return ratios.verdict([(goal.target, goal.figure) for goal in goals])
