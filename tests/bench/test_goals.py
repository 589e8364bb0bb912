from __future__ import annotations

import math

import pytest

from bench import goals
from bench.field import FASTEMBED, FLOOR, INFINITY, MODERN, OWN, OWN_HTTP, OWN_QUEUE, PYTORCH
from bench.goals import Goal
from bench.parity import Parity, Row
from bench.peers_run import CLIENTS, SINGLE, START, Sample
from bench.ratios import Target

SIZES = {OWN: 90.0, FASTEMBED: 100.0, MODERN: 120.0, INFINITY: 6000.0}


def _samples(figures: dict[tuple[str, str], list[float]]) -> list[Sample]:
    return [
        Sample(turn, entrant, measure, {goals.FIGURES[measure]: value})
        for (entrant, measure), values in figures.items()
        for turn, value in enumerate(values)
    ]


GOOD = {
    (OWN_QUEUE, START): [1.0, 1.0],
    (PYTORCH, START): [6.0, 7.0],
    (OWN, START): [0.5, 0.5],
    (FASTEMBED, START): [1.0, 2.0],
    (FLOOR, START): [0.1, 0.1],
    (OWN_HTTP, CLIENTS.name): [40.0, 40.0],
    (FASTEMBED, CLIENTS.name): [20.0, 20.0],
    (FLOOR, CLIENTS.name): [90.0, 90.0],
    (OWN, SINGLE.name): [30.0, 30.0],
    (FASTEMBED, SINGLE.name): [40.0, 60.0],
}
OWN_ROW = Row(OWN, "images", [1.0, 0.9999999], [1e-8, 2e-8], {})
PEER_ROW = Row(FASTEMBED, "images", [0.98, None], [1e-2, None], {"1": "refused"})


def _judge(
    figures: dict[tuple[str, str], list[float]] = GOOD,
    rows: tuple[Row, ...] = (OWN_ROW, PEER_ROW),
    sizes: dict[str, float] = SIZES,
    equal_bytes: int = 2,
) -> dict[Target, Goal]:
    found = Parity(list(rows), ["a", "b"], [], equal_bytes)
    return {goal.target: goal for goal in goals.judge(_samples(figures), found, sizes)}


def test_every_goal_holds_where_everything_is_well() -> None:
    judged = _judge()

    assert len(judged) == 8
    assert all(goal.holds for goal in judged.values()), [goal for goal in judged.values() if not goal.holds]
    assert judged[goals.START_PYTORCH].figure == 6.5
    assert judged[goals.THROUGHPUT].figure == 2.0


@pytest.mark.parametrize(
    ("target", "change"),
    [
        (goals.START_PYTORCH, {(PYTORCH, START): [4.0, 4.0]}),
        (goals.START_PEER, {(MODERN, START): [0.4, 0.4]}),
        (goals.THROUGHPUT, {(MODERN, CLIENTS.name): [36.0, 36.0]}),
        (goals.LATENCY, {(MODERN, SINGLE.name): [29.0, 29.0]}),
    ],
)
def test_each_goal_is_missed_by_what_it_is_about(target: Target, change: dict[tuple[str, str], list[float]]) -> None:
    assert [goal.target for goal in _judge({**GOOD, **change}).values() if not goal.holds] == [target]


def test_parity_and_size_are_missed_alone() -> None:
    far = Row(OWN, "images", [1.0, 0.99], [1e-8, 2e-8], {})
    near = Row(MODERN, "images", [1.0, 1.0], [0.0, 1e-3], {})
    refusing = Row(OWN, "images", [1.0, None], [1e-8, None], {"1": "refused"})

    assert not _judge(equal_bytes=1)[goals.BYTES].holds
    assert not _judge(rows=(far,))[goals.COSINE].holds
    assert not _judge(rows=(refusing,))[goals.COSINE].holds
    assert _judge(rows=(OWN_ROW, near))[goals.NEARER].figure == 1
    assert _judge(sizes={**SIZES, OWN: 103.0})[goals.SIZE].missed_by == "3.0%"


def test_what_was_not_measured_is_missed_and_not_passed() -> None:
    judged = goals.judge([], None, {})

    assert len(judged) == 8
    assert all(math.isnan(goal.figure) and not goal.holds for goal in judged)
    assert not goals.verdict(judged).passed


def test_pairs_are_of_the_rounds_that_both_have() -> None:
    samples = _samples({(OWN, START): [1.0, 2.0, 4.0], (FASTEMBED, START): [2.0]})

    ratio = goals.ratio(samples, FASTEMBED, OWN, START)

    assert ratio is not None
    assert (ratio.median, ratio.pairs) == (2.0, 1)
    assert goals.ratio(samples, FASTEMBED, INFINITY, START) is None
