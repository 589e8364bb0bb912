from __future__ import annotations

import math

import pytest

from bench.ratios import Ratio, Target, paired, percentile, verdict


@pytest.mark.parametrize(
    ("target", "reached", "missed"),
    [(Target("speed", at_least=5), 5.0, 4.999), (Target("tail", at_most=3), 3.0, 3.001)],
)
def test_a_target_includes_its_limit_and_refuses_nan(target: Target, reached: float, missed: float) -> None:
    assert target.holds(reached)
    assert not target.holds(missed)
    assert not target.holds(math.nan)


@pytest.mark.parametrize("limits", [{}, {"at_least": 1.0, "at_most": 2.0}])
def test_a_target_has_exactly_one_limit(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at_least or at_most"):
        Target("both or none", **limits)


def test_ratios_are_made_pair_by_pair() -> None:
    # The machine slowed down threefold between the pairs; the ratio of the medians would be 3.
    assert paired([10, 20, 36], [5, 10, 12]) == Ratio(median=2, lowest=2, highest=3, pairs=3)


@pytest.mark.parametrize(("above", "below"), [([], []), ([1.0], [1.0, 2.0]), ([1.0], [0.0]), ([1.0], [math.nan])])
def test_what_makes_no_pairs_is_refused(above: list[float], below: list[float]) -> None:
    with pytest.raises(ValueError, match=r"pairs|above 0"):
        paired(above, below)


@pytest.mark.parametrize(("percent", "value"), [(1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_percentiles_are_nearest_ranks(percent: float, value: float) -> None:
    assert percentile(range(100, 0, -1), percent) == value


def test_the_median_of_one_value_is_that_value() -> None:
    assert percentile([7], 50) == 7
    assert percentile([7], 99) == 7


def test_a_verdict_names_every_figure_and_what_was_missed() -> None:
    passed = verdict([(Target("speed", at_least=5), 7.123), (Target("tail", at_most=3), 2)])
    assert passed.line == "speed 7.12 (target >= 5); tail 2.00 (target <= 3): PASSED"
    assert passed.exit_code == 0

    missed = verdict([(Target("speed", at_least=5), 4.5), (Target("tail", at_most=3), 2)])
    assert missed.line == "speed 4.50 (target >= 5); tail 2.00 (target <= 3): MISSED: speed"
    assert missed.exit_code == 1


def test_there_is_no_verdict_without_a_figure() -> None:
    with pytest.raises(ValueError, match="at least one"):
        verdict([])
