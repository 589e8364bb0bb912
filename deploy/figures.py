"""The figures that a plan reckons with: service time, cold start, prices. A TOML file, because they will change."""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import DeployError

PATH = Path(__file__).parent / "figures.toml"


@dataclass(frozen=True, slots=True)
class Figures:
    """`service_s` is (batch size, seconds), rising in size; `measured` says where all of it comes from."""

    measured: str
    cold_start_s: float
    waiting_usd_per_hour: float
    service_s: tuple[tuple[int, float], ...]
    usd_per_hour: Mapping[str, float]

    @property
    def max_batch(self) -> int:
        """The largest batch that was measured, and so the largest that is reckoned with."""
        return self.service_s[-1][0]

    def service_time_s(self, batch: int) -> float:
        """Seconds that a worker is busy with `batch` requests, 1 to `max_batch`; a straight line between figures."""
        at = bisect_left(self.service_s, (batch, 0.0))
        size, seconds = self.service_s[at]
        if size == batch or at == 0:
            return seconds
        size_below, seconds_below = self.service_s[at - 1]
        return seconds_below + (seconds - seconds_below) * (batch - size_below) / (size - size_below)


def load(path: Path = PATH) -> Figures:
    """Read a file of figures. Raises DeployError: one line with the field and what it takes."""
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text())
    except OSError as error:
        raise DeployError(f"cannot read {path} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeployError(f"{path} is not TOML: {error}") from None
    service = _numbers(path, document, "service_s")
    try:
        sizes = tuple(sorted((int(size), seconds) for size, seconds in service.items()))
    except ValueError:
        raise DeployError(f"{path}: service_s must name batch sizes, such as 1 or 64") from None
    if sizes[0][0] != 1:
        raise DeployError(f"{path}: service_s must hold the time of a batch of 1")
    if not isinstance(document.get("measured"), str):
        raise DeployError(f"{path}: measured must say where the figures come from")
    return Figures(
        measured=document["measured"],
        cold_start_s=_number(path, document, "cold_start_s"),
        waiting_usd_per_hour=_number(path, document, "waiting_usd_per_hour"),
        service_s=sizes,
        usd_per_hour=_numbers(path, document, "usd_per_hour"),
    )


def _number(path: Path, table: Mapping[str, Any], key: str) -> float:
    value = table.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise DeployError(f"{path}: {key} must be a number above 0")
    return float(value)


def _numbers(path: Path, document: Mapping[str, Any], key: str) -> dict[str, float]:
    table = document.get(key)
    if not isinstance(table, dict) or not table:
        raise DeployError(f"{path}: {key} must be a table with at least one number")
    return {name: _number(path, table, name) for name in table}
