"""What every generated section is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.ratios import Ratio

Results = Mapping[str, Mapping[str, Any]]
"""The files of bench/results by their names, those that exist."""


def machine(result: Mapping[str, Any]) -> str:
    """Where and when."""
    facts = result["machine"]
    return (
        f"Measured {result['date'][:10]} on {facts['cpus']} cores of {facts['cpu']}, {facts['memory_gib']} GiB,"
        f" Python {facts['python']}; {result['settings'].get('model', 'ViT-B-32')}."
    )


def rows(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left."""
    parts = [f"| {' | '.join(header)} |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join([*parts, *(f"| {' | '.join(line)} |" for line in lines)])


def shown(ratio: Ratio | None) -> str:
    """Median and range."""
    return "-" if ratio is None else f"{ratio.median:.2f} ({ratio.lowest:.2f} to {ratio.highest:.2f})"
