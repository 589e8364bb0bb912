from __future__ import annotations

import os

import pytest

from bench import preprocess
from bench.errors import BenchError
from bench.load import Load
from bench.preprocess import SERVED, WHOLE, Pair, Round


def turn(route: str, jobs_per_s: float) -> Round:
    return Round(route, Load(32, 10, 12, jobs_per_s, 1, 2, 3), 5, 1, 1)


def test_a_figure_is_the_median_of_its_own_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    size = (640, 360)
    pairs = [Pair(preprocess.WHOLE_WORK, size, pillow_ms, 2.0) for pillow_ms in (4.0, 6.0, 20.0)]
    others = [Pair(preprocess.WHOLE_WORK, SERVED, 9.0, 1.0), Pair(preprocess.RESIZE_WORK, size, 9.0, 1.0)]
    target, figure = preprocess.figure(preprocess.WHOLE_WORK, size, [*pairs, *others])
    assert figure == 3.0
    assert target.at_least == WHOLE[size]
    assert "Pillow    6.00 ms  here   2.00 ms" in capsys.readouterr().out


def test_the_workers_are_compared_round_by_round() -> None:
    rounds = [turn("fastest", 20), turn("pillow", 10), turn("pillow", 5), turn("fastest", 15)]
    assert preprocess.jobs_ratio(rounds) == 2.5


def test_the_measuring_thread_is_pinned_and_let_go() -> None:
    before = os.sched_getaffinity(0)
    with preprocess.on_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_too_few_cores_are_said() -> None:
    with pytest.raises(BenchError, match="cores are needed"), preprocess.on_cores(10_000):
        pass


def test_both_sides_of_a_pair_do_the_same_work() -> None:
    """Each pair's two pictures are held equal before they are timed; a photograph small enough for a test."""
    pairs = preprocess.measured_pairs((96, 64), 3)
    assert [pair.work for pair in pairs] == [preprocess.WHOLE_WORK] * 3 + [preprocess.RESIZE_WORK] * 3
    assert all(pair.pillow_ms > 0 and pair.fast_ms > 0 for pair in pairs)
