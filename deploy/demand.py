"""When requests come: at a constant rate, by a daily curve, or as they were logged."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deploy.errors import DeployError

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class Demand:
    """Arrivals in seconds from 0, rising, all before `horizon_s`."""

    arrivals_s: Sequence[float]
    horizon_s: float

    @property
    def per_hour(self) -> float:
        """The mean rate."""
        return len(self.arrivals_s) * HOUR_S / self.horizon_s


def constant(per_hour: float, *, requests: int, least_s: float, seed: int) -> Demand:
    """Poisson arrivals: about `requests` of them, over at least `least_s`. Raises DeployError for a bad rate."""
    if not 0 < per_hour <= 1e7:
        raise DeployError("the rate must be above 0 and at most 10,000,000 requests an hour")
    return _poisson([per_hour], max(requests * HOUR_S / per_hour, least_s), seed)


def daily(per_hour: Sequence[float], *, requests: int, least_s: float, seed: int) -> Demand:
    """Poisson arrivals by 24 hourly rates, over whole days. Raises DeployError for a bad curve."""
    if len(per_hour) != 24 or not all(0 <= rate <= 1e7 for rate in per_hour) or not sum(per_hour):
        raise DeployError("a daily curve has 24 rates in requests an hour, not all of them 0")
    days = max(1, round(requests / sum(per_hour)), -(-int(least_s) // int(DAY_S)))
    return _poisson(per_hour, days * DAY_S, seed)


def read_curve(path: Path) -> list[float]:
    """24 rates, one a row, in the last column of a CSV; a first row of headings is passed over."""
    return [_float(path, row[-1]) for row in _rows(path)]


def read_timestamps(path: Path) -> Demand:
    """Arrivals from the first column of a CSV: Unix seconds, or ISO 8601. Raises DeployError."""
    times = sorted(_time_s(path, row[0]) for row in _rows(path))
    if len(times) < 2 or times[0] == times[-1]:
        raise DeployError(f"{path} must hold at least two different times")
    span_s = times[-1] - times[0]
    # The last gap is as long as the mean one, so that the rate is right.
    return Demand([time - times[0] for time in times], span_s + span_s / (len(times) - 1))


def _poisson(per_hour: Sequence[float], horizon_s: float, seed: int) -> Demand:
    """Thinning: candidates at the highest rate, kept in proportion to the hour's own."""
    chance, highest = random.Random(seed), max(per_hour)  # noqa: S311  # a simulation, repeatable
    arrivals, now = [], 0.0
    while (now := now + chance.expovariate(highest / HOUR_S)) < horizon_s:
        rate = per_hour[int(now // HOUR_S) % len(per_hour)]
        if rate == highest or chance.random() * highest < rate:
            arrivals.append(now)
    return Demand(arrivals, horizon_s)


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row and any(cell.strip() for cell in row)]
    except OSError as error:
        raise DeployError(f"cannot read {path} ({error.strerror})") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DeployError(f"{path} is not CSV: {error}") from None
    return rows[1:] if rows and not any(character.isdigit() for character in "".join(rows[0])) else rows


def _float(path: Path, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DeployError(f"{path}: {text!r} is not a number") from None


def _time_s(path: Path, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise DeployError(f"{path}: {text!r} is neither Unix seconds nor an ISO 8601 time") from None
