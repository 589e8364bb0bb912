"""Paired ratios and the verdict: every measurement ends with its figures held against their targets."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must reach: `at_least` or `at_most`, exactly one of them."""

    name: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"target {self.name!r} needs either at_least or at_most")

    def holds(self, figure: float) -> bool:
        """Whether the figure reaches the target; a NaN never does."""
        if self.at_least is not None:
            return figure >= self.at_least
        assert self.at_most is not None
        return figure <= self.at_most

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratios of interleaved pairs: their median, and the range that they spread over."""

    median: float
    lowest: float
    highest: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.median:.2f} (from {self.lowest:.2f} to {self.highest:.2f} over {self.pairs} pairs)"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The last line of a measurement, and whether every target was reached."""

    line: str
    passed: bool

    @property
    def exit_code(self) -> int:
        """0 when every target was reached, else 1."""
        return 0 if self.passed else 1


def paired(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Divide pair by pair, so that a drift of the machine falls on both sides of each ratio.

    Raises ValueError for unequal lengths, no pair, or a denominator that is not above 0.
    """
    if len(numerators) != len(denominators) or not numerators:
        raise ValueError(f"{len(numerators)} and {len(denominators)} values make no pairs")
    if any(not denominator > 0 for denominator in denominators):
        raise ValueError("every denominator must be above 0")
    ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), len(ratios))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of all values do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = max(1, -int(-percent * len(ordered) // 100))
    return ordered[rank - 1]


def verdict(figures: Sequence[tuple[Target, float]]) -> Verdict:
    """Each figure beside its target, and PASSED or MISSED, on one line."""
    if not figures:
        raise ValueError("a verdict needs at least one figure")
    missed = [target.name for target, figure in figures if not target.holds(figure)]
    parts = [f"{target.name} {figure:.2f} (target {target})" for target, figure in figures]
    end = f"MISSED: {', '.join(missed)}" if missed else "PASSED"
    return Verdict(f"{'; '.join(parts)}: {end}", not missed)
