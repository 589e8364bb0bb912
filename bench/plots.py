"""The samples as pictures, once for light pages and once for dark ones. Same samples, same bytes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from bench import goals, scaling
from bench.field import OURS, OWN, OWN_HTTP
from bench.markdown import Results
from bench.peers_run import CLIENTS, SINGLE
from bench.tables import samples_of

FOLDER = Path("docs/plots")
_THEMES = {"light": ("#ffffff", "#1f2328", "#d0d7de"), "dark": ("#0d1117", "#e6edf3", "#30363d")}
_OWN, _OTHER = "#4477aa", "#aa7700"
_STAGE_COLOURS = ("#bbbbbb", "#228833", "#ee6677", "#ccbb44", "#4477aa")


def drawings(results: Results) -> dict[str, Callable[[str], Figure]]:
    """Name -> how it is drawn for a theme, for those whose samples exist."""
    found: dict[str, Callable[[str], Figure]] = {}
    if "peers" in results:
        found["peers"] = lambda theme: peers(results, theme)
    if "scaling" in results:
        found["scaling"] = lambda theme: scales(results, theme)
    return found


def write(results: Results, folder: Path) -> list[Path]:
    """NAME-light.svg and NAME-dark.svg for each drawing."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in drawings(results).items():
        for theme in _THEMES:
            path = folder / f"{name}-{theme}.svg"
            # A fixed salt and letters as letters: the same samples give the same small file.
            with mpl.rc_context({"svg.hashsalt": "bench", "svg.fonttype": "none"}):
                draw(theme).savefig(path, metadata={"Date": None, "Creator": None})
            written.append(path)
    return written


def markdown(name: str, says: str) -> str:
    """The picture as a page includes it; `says` is its text."""
    return (
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="plots/{name}-dark.svg">\n'
        f'  <img alt="{says}" src="plots/{name}-light.svg">\n</picture>'
    )


def peers(results: Results, theme: str) -> Figure:
    """Images a second at 64 clients and the p50 of one image, everybody over this project's library or door."""
    samples = samples_of(results["peers"])
    figure = Figure(figsize=(9, 4.2), facecolor=_THEMES[theme][0], layout="constrained")
    left, right = figure.subplots(1, 2)
    panels: tuple[tuple[Axes, str, str, str], ...] = (
        (left, CLIENTS.name, OWN_HTTP, "images/s at 64 clients\nworker over HTTP = 1, more is better"),
        (right, SINGLE.name, OWN, "p50 of one image\nheimdex_clip = 1, less is better"),
    )
    for axes, measure, base, title in panels:
        found = [(name, goals.ratio(samples, name, base, measure)) for name in reversed(goals.names(samples))]
        bars = [(name, ratio) for name, ratio in found if ratio is not None]
        for place, (name, ratio) in enumerate(bars):
            colour = _OWN if name in OURS else _OTHER
            error = [[ratio.median - ratio.lowest], [ratio.highest - ratio.median]]
            axes.barh(place, ratio.median, color=colour, xerr=error, ecolor=_THEMES[theme][1], capsize=2)
        axes.set_yticks(range(len(bars)), [name for name, _ in bars])
        axes.axvline(1, color=_THEMES[theme][1], linewidth=0.8)
        if measure == SINGLE.name:
            _logarithmic(axes, "x")
        _dress(axes, title, theme)
    return figure


def scales(results: Results, theme: str) -> Figure:
    """Throughput and p99 by clients, and where a job's time goes by the image's size."""
    cells = [scaling.Cell(**{**cell, "size": tuple(cell["size"])}) for cell in results["scaling"]["samples"]]
    base = tuple(results["scaling"]["settings"]["base"])
    figure = Figure(figsize=(9, 3.8), facecolor=_THEMES[theme][0], layout="constrained")
    left, right = figure.subplots(1, 2)
    clients = [cell for cell in cells if cell.size == base]
    counts = sorted({cell.clients for cell in clients})
    rate = [_median(clients, "clients", count, lambda cell: cell.per_s) for count in counts]
    tail = [_median(clients, "clients", count, lambda cell: cell.p99_ms) for count in counts]
    left.plot(counts, [value / max(rate) for value in rate], marker="o", color=_OWN, label="images/s, of the most")
    left.plot(counts, [value / tail[0] for value in tail], marker="s", color=_OTHER, label="p99, over one client's")
    left.set_xscale("log", base=2)
    _logarithmic(left, "y")
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.legend(facecolor=_THEMES[theme][0], edgecolor=_THEMES[theme][2], labelcolor=_THEMES[theme][1])
    _dress(left, "by clients, 640x360", theme)
    sizes = sorted({cell.size for cell in cells if cell.size != base}, key=lambda size: size[0] * size[1])
    bottom = [0.0] * len(sizes)
    for stage, colour in zip(scaling.STAGES, _STAGE_COLOURS, strict=True):
        heights = []
        for size in sizes:
            group = [cell for cell in cells if cell.size == size]
            medians = {one: statistics.median(cell.stages_ms[one] for cell in group) for one in scaling.STAGES}
            heights.append(medians[stage] / sum(medians.values()))
        label = stage.removesuffix("_ms")
        right.bar(range(len(sizes)), heights, bottom=bottom, color=colour, label=label, width=0.8)
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    right.set_xticks(range(len(sizes)), [f"{size[0] * size[1] / 1e6:.1f}" for size in sizes])
    paper, ink, grid = _THEMES[theme]
    below = {"ncols": len(scaling.STAGES), "loc": "upper center", "bbox_to_anchor": (0.5, -0.08), "fontsize": 7}
    right.legend(facecolor=paper, edgecolor=grid, labelcolor=ink, **below)
    _dress(right, f"share of a job by Mpx, {scaling.SIZE_CLIENTS} clients", theme)
    return figure


def _median(cells: Sequence[scaling.Cell], by: str, value: Any, figure: Callable[[scaling.Cell], float]) -> float:
    return statistics.median(figure(cell) for cell in cells if getattr(cell, by) == value)


def _logarithmic(axes: Axes, side: str) -> None:
    axis = axes.xaxis if side == "x" else axes.yaxis
    (axes.set_xscale if side == "x" else axes.set_yscale)("log")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


def _dress(axes: Axes, title: str, theme: str) -> None:
    paper, ink, grid = _THEMES[theme]
    axes.set_facecolor(paper)
    axes.set_title(title, color=ink, fontsize=9)
    axes.tick_params(which="both", colors=ink, labelsize=8)
    axes.grid(color=grid, linewidth=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_color(grid)
