"""The plan as a picture: each setting's bill against its wait, once for light pages and once for dark ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from deploy.errors import DeployError
from deploy.simulation import Outcome

_THEMES = {"light": ("#ffffff", "#1f2328", "#d0d7de"), "dark": ("#0d1117", "#e6edf3", "#30363d")}
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa7700")
_MARKS = ("o", "s", "^", "D")
_TINY_S = 1e-3


def write(path: Path, outcomes: Sequence[Outcome], best: Outcome, title: str) -> list[Path]:
    """Write NAME-light and NAME-dark beside each other, PNG or SVG by the suffix. Raises DeployError."""
    if path.suffix not in (".png", ".svg"):
        raise DeployError(f"--plot must end in .png or .svg, not {path.name!r}")
    written = []
    for theme in _THEMES:
        target = path.with_stem(f"{path.stem}-{theme}")
        try:
            # A fixed salt: the same plan gives the same file.
            with mpl.rc_context({"svg.hashsalt": "plan"}):
                metadata = {"Date": None} if path.suffix == ".svg" else None
                _draw(outcomes, best, title, theme).savefig(target, dpi=144, metadata=metadata)
        except OSError as error:
            raise DeployError(f"cannot write {target} ({error.strerror})") from None
        written.append(target)
    return written


def _draw(outcomes: Sequence[Outcome], best: Outcome, title: str, theme: str) -> Figure:
    paper, ink, grid = _THEMES[theme]
    figure = Figure(figsize=(8, 4.8), facecolor=paper, layout="constrained")
    axes = figure.add_subplot(facecolor=paper)
    for workers_min in sorted({outcome.setting.workers_min for outcome in outcomes}):
        group = [outcome for outcome in outcomes if outcome.setting.workers_min == workers_min]
        axes.plot(
            [outcome.usd_per_month for outcome in group],
            [max(outcome.wait_s(95), _TINY_S) for outcome in group],
            linestyle="-",
            marker=_MARKS[workers_min % len(_MARKS)],
            color=_COLOURS[workers_min % len(_COLOURS)],
            label=f"min {workers_min}",
        )
    axes.plot(best.usd_per_month, max(best.wait_s(95), _TINY_S), "o", ms=17, mfc="none", mec=ink, mew=1.5)
    axes.annotate(
        "recommended",
        (best.usd_per_month, max(best.wait_s(95), _TINY_S)),
        xytext=(0, 14),
        ha="right" if best.usd_per_month > max(outcome.usd_per_month for outcome in outcomes) / 2 else "left",
        textcoords="offset points",
        color=ink,
    )
    axes.set_yscale("log")
    axes.set_ylim(_TINY_S / 2, 4 * max(_TINY_S, *(outcome.wait_s(95) for outcome in outcomes)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(left=0)
    axes.set_xlabel("$ a month", color=ink)
    axes.set_ylabel("p95 wait (s), 1 ms or less at the bottom", color=ink)
    axes.set_title(title, color=ink, fontsize=11)
    axes.tick_params(which="both", colors=ink)
    axes.grid(color=grid, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_color(grid)
    axes.legend(facecolor=paper, edgecolor=grid, labelcolor=ink)
    return figure
