"""The simulation, held to what is known in closed form and to small cases that can be reckoned by hand."""

from __future__ import annotations

import math
import random

import pytest

from deploy import demand, figures
from deploy.demand import Demand
from deploy.figures import Figures
from deploy.simulation import Outcome, Setting, simulate

FIGURES = Figures("made up", 10.0, 1.0, ((1, 1.0), (8, 1.7)), {"POOL": 3.6})


def erlang_c_wait_s(arrivals_per_s: float, service_s: float, servers: int) -> float:
    """Mean wait of M/M/c."""
    offered = arrivals_per_s * service_s
    busy = offered / servers
    last = offered**servers / math.factorial(servers) / (1 - busy)
    waits = last / (sum(offered**n / math.factorial(n) for n in range(servers)) + last)
    return waits * service_s / (servers - offered)


@pytest.mark.parametrize(("servers", "busy"), [(1, 0.5), (2, 0.7), (3, 0.8)])
def test_the_mean_wait_is_that_of_m_m_c(servers: int, busy: float) -> None:
    per_s, means_s = busy * servers, []
    for seed in range(200, 204):
        chance = random.Random(9000 + seed)  # not the arrivals' own stream
        outcome = simulate(
            demand.constant(per_s * 3600, requests=30_000, least_s=0, seed=seed),
            Setting(servers, servers, 5),
            FIGURES,
            usd_per_hour=1,
            service_s=lambda _, chance=chance: chance.expovariate(1.0),  # type: ignore[misc]
            max_batch=1,
        )
        means_s.append(sum(outcome.waits_s) / len(outcome.waits_s))
        assert outcome.cold == 0
        # Workers that are always on are paid for all the time.
        assert outcome.worker_h == pytest.approx(servers * outcome.horizon_h)
    # Over 40 seeds the ratio is 1.002 to 1.006, with a standard error of 0.005 to 0.010.
    assert sum(means_s) / len(means_s) == pytest.approx(erlang_c_wait_s(per_s, 1.0, servers), rel=0.06)


def play(*arrivals_s: float, horizon_s: float = 100, setting: Setting = Setting(0, 1, 5)) -> Outcome:  # noqa: B008
    return simulate(Demand(arrivals_s, horizon_s), setting, FIGURES, usd_per_hour=3.6)


def test_one_request_pays_start_service_and_idle_time() -> None:
    outcome = play(20)
    assert outcome.waits_s == [10]
    assert outcome.cold == 1
    assert outcome.worker_h * 3600 == pytest.approx(10 + 1 + 5)
    assert outcome.usd_per_1000 == pytest.approx(16)


def test_a_request_inside_the_idle_timeout_is_warm() -> None:
    outcome = play(20, 34)
    assert outcome.waits_s == [0, 10]
    assert outcome.cold == 1
    assert outcome.worker_h * 3600 == pytest.approx(10 + (34 - 30) + 1 + 5)


def test_a_request_after_it_is_cold() -> None:
    assert play(20, 37).cold == 2


def test_what_waits_is_taken_together() -> None:
    outcome = play(*(20 + number / 100 for number in range(9)))
    # Eight with the start's end; the ninth after the batch of eight.
    assert [round(wait, 2) for wait in outcome.waits_s[:2]] == [9.93, 9.94]
    assert outcome.waits_s[-1] == pytest.approx(30 + 1.7 - 20.08)


def test_the_delay_scaler_adds_no_worker_for_what_the_first_will_take() -> None:
    assert play(20, 20, 20, setting=Setting(0, 3, 5, "QUEUE_DELAY", 2)).worker_h * 3600 == pytest.approx(10 + 1.2 + 5)


def test_the_delay_scaler_adds_one_for_the_rest() -> None:
    crowd = play(*[20] * 9, setting=Setting(0, 3, 5, "QUEUE_DELAY", 2))
    assert crowd.waits_s[-1] == pytest.approx(10 + 1.7)
    assert crowd.worker_h * 3600 > 10 + 1.7 + 1 + 5 + 10


def test_the_count_scaler_starts_what_the_crowd_calls_for() -> None:
    crowd = play(*[20] * 6, setting=Setting(0, 3, 5, "REQUEST_COUNT", 2))
    assert crowd.worker_h * 3600 == pytest.approx(3 * 15 + 1 + 0.5, abs=1.5)


def test_never_more_than_the_most() -> None:
    crowd = play(*[20] * 500, horizon_s=1000, setting=Setting(0, 2, 5, "REQUEST_COUNT", 1))
    assert crowd.unserved == 0
    assert crowd.worker_h * 3600 <= 2 * (10 + math.ceil(500 / 16) * 1.7 + 1.7 + 5)


def test_too_much_is_left_waiting() -> None:
    outcome = play(*(number / 20 for number in range(2000)), setting=Setting(1, 1, 5))
    assert outcome.unserved > 500


def test_service_times_between_the_figures() -> None:
    assert [FIGURES.service_time_s(batch) for batch in (1, 8)] == [1.0, 1.7]
    assert FIGURES.service_time_s(2) == pytest.approx(1.1)
    assert figures.load().service_time_s(figures.load().max_batch) > 0
