"""Which setting to take: the one whose bill and waiting together cost least, and how that stands to the old rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.demand import HOUR_S
from deploy.figures import Figures
from deploy.simulation import Outcome, Setting

_IDLE_TIMEOUTS_S = (5.0, 30.0, 120.0, 300.0)
LONGEST_IDLE_S = max(_IDLE_TIMEOUTS_S)


@dataclass(frozen=True, slots=True)
class Advice:
    """The recommended outcome, and two lines that say why."""

    best: Outcome
    why: str
    rule: str


def settings(workers_max: int, scaler: str, scaler_value: float) -> list[Setting]:
    """What is tried: every minimum up to 3, and for each several idle timeouts."""
    return [
        Setting(workers_min, workers_max, idle_s, scaler, scaler_value)
        for workers_min in range(min(3, workers_max) + 1)
        # Where every worker is always on, none is ever idle for too long.
        for idle_s in (_IDLE_TIMEOUTS_S if workers_min < workers_max else _IDLE_TIMEOUTS_S[:1])
    ]


def total_usd(outcome: Outcome, figures: Figures) -> float:
    """A month's bill, and its waiting at the value that the figures give it."""
    return outcome.usd_per_month + outcome.waiting_h_per_month * figures.waiting_usd_per_hour


def advise(outcomes: Sequence[Outcome], figures: Figures, per_hour: float) -> Advice:
    """The best of `outcomes`; those that leave requests unserved only when all do."""
    keeps_up = [outcome for outcome in outcomes if outcome.unserved <= 0.01 * len(outcome.waits_s)] or outcomes
    best = min(keeps_up, key=lambda outcome: total_usd(outcome, figures))
    border = always_on_pays_from_per_hour(figures, best.usd_per_hour, best.setting)
    why = (
        f"min {best.setting.workers_min}, max {best.setting.workers_max},"
        f" idle {best.setting.idle_timeout_s:g} s: ${best.usd_per_month:.2f} a month and"
        f" {best.waiting_h_per_month:.1f} h of waiting. One worker always on pays from about {border:.0f} requests"
        f" an hour (cold start {figures.cold_start_s:g} s, an hour of waiting worth ${figures.waiting_usd_per_hour:g})."
    )
    return Advice(best, why, _rule(outcomes, best, figures, per_hour))


def always_on_pays_from_per_hour(figures: Figures, usd_per_hour: float, setting: Setting) -> float:
    """The rate at which one worker always on costs as much as a start for every request and its wait."""
    start_s = figures.cold_start_s
    a_start_usd = start_s * figures.waiting_usd_per_hour / HOUR_S
    a_start_usd += (start_s + figures.service_time_s(1) + setting.idle_timeout_s) * usd_per_hour / HOUR_S
    return usd_per_hour / a_start_usd


def rule_of_thumb(per_hour: float) -> tuple[int, int]:
    """The old guide's least and most for the minimum of workers."""
    if per_hour < 10:
        return 0, 0
    return (1, 1) if per_hour <= 100 else (2, 3)


def _rule(outcomes: Sequence[Outcome], best: Outcome, figures: Figures, per_hour: float) -> str:
    low, high = rule_of_thumb(per_hour)
    rule = f"The old rule of thumb says min {low if low == high else f'{low} to {high}'}"
    if low <= best.setting.workers_min <= high:
        return f"{rule}: the same."
    candidates = [outcome for outcome in outcomes if low <= outcome.setting.workers_min <= high]
    if not candidates:
        return f"{rule}, which the largest number of workers does not allow."
    other = min(candidates, key=lambda outcome: total_usd(outcome, figures))
    dearer = other.usd_per_month - best.usd_per_month
    saved_h = best.waiting_h_per_month - other.waiting_h_per_month
    if dearer >= 0:
        return (
            f"{rule}. It would cost ${dearer:.2f} a month more and spare {saved_h:.1f} h of waiting, worth"
            f" ${saved_h * figures.waiting_usd_per_hour:.2f}: a reason only if one worker may never be missing."
        )
    return (
        f"{rule}. It would save ${-dearer:.2f} a month for {-saved_h:.1f} h more of waiting, worth"
        f" ${-saved_h * figures.waiting_usd_per_hour:.2f}."
    )
