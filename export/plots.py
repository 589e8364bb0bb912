"""The report's plots: inline SVG that takes its colours and fonts from the page around it."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from export.report import Row, printable
from heimdex_clip.encoder.gates import Gate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins in the drawing -> the page's own colours, so that light and dark need no second drawing.
_INK, _FAINT, _GRID, _BAD = "#010101", "#020202", "#030303", "#040404"
_LANES = ("#050505", "#060606", "#070707", "#080808")
_COLOURS = {
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    _GRID: "var(--grid)",
    _BAD: "var(--bad)",
    **{stand_in: f"var(--lane-{index})" for index, stand_in in enumerate(_LANES)},
}
_MARKERS = ("o", "D", "s", "^")
_MARKS = ("●", "◆", "■", "▲")
_FAILED = "X"
_FALLBACK = (1e-8, 1e-2)  # an axis where nothing was measured
_WIDTH_IN = 9.6
_ROW_IN, _TOP_IN, _BOTTOM_IN = 0.21, 0.5, 0.3


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    value: Callable[[Row], float]
    limit: Callable[[Gate], float | None]


_PANELS = (
    _Panel("1 \N{MINUS SIGN} cosine", lambda row: _deviation(row), lambda gate: 1 - gate.min_cosine),
    _Panel(
        "largest difference",
        lambda row: row.parity.max_abs if row.parity else math.nan,
        lambda gate: gate.max_abs,
    ),
)


def style(position: int) -> tuple[int, str]:
    """A lane's colour number in the page's style sheet, and its marker as a character."""
    return position % len(_MARKS), _MARKS[position % len(_MARKS)]


Range = tuple[float, float]


def ranges(rows: Sequence[Row]) -> tuple[Range, ...]:
    """From and to of each panel's axis, so that all rows and gates fit: shared by all groups of a page."""
    return tuple(_range(panel, rows) for panel in _PANELS)


def draw(name: str, rows: Sequence[Row], lanes: Sequence[str], axis_ranges: Sequence[Range]) -> str:
    """One group's rows as an SVG element: a line per input, a dot per lane, the gates as dashed lines.

    `name` makes the element's ids unique in the page. `lanes` fixes colour and marker by position.
    """
    inputs = list(dict.fromkeys(row.name for row in rows))
    height_in = _TOP_IN + _BOTTOM_IN + _ROW_IN * len(inputs)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9, "axes.linewidth": 0.6}):
        figure = Figure(figsize=(_WIDTH_IN, height_in))
        axes = figure.subplots(1, len(_PANELS), sharey=True)
        for axis, panel, axis_range in zip(axes, _PANELS, axis_ranges, strict=True):
            axis.set_xscale("log")
            axis.set_xlim(axis_range)
            _draw_rows(axis, panel, rows, inputs, lanes)
            _draw_gates(axis, panel, rows)
            _dress(axis, panel)
        axes[0].set_yticks(range(len(inputs)), [printable(text, 34) for text in inputs], parse_math=False)
        axes[0].set_ylim(len(inputs) - 0.4, -0.6)
        # Fixed in inches, so that every group's panels stand at the same place.
        bottom, top = _BOTTOM_IN / height_in, 1 - _TOP_IN / height_in
        figure.subplots_adjust(left=0.27, right=0.985, bottom=bottom, top=top, wspace=0.13)
        buffer = io.StringIO()
        with warnings.catch_warnings():
            # The page's own fonts draw the text; what matplotlib's font lacks is no matter.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), name)


def _draw_rows(axis: Axes, panel: _Panel, rows: Sequence[Row], inputs: Sequence[str], lanes: Sequence[str]) -> None:
    for row in rows:
        value = panel.value(row)
        if not math.isfinite(value):
            continue
        position = lanes.index(row.lane) % len(_LANES)
        marker, size, colour = (_MARKERS[position], 5, _LANES[position]) if row.holds else (_FAILED, 8, _BAD)
        # Equal vectors stand on the left edge: a logarithmic axis has no 0.
        at = max(value, axis.get_xlim()[0])
        axis.plot(at, inputs.index(row.name), marker, color=colour, markersize=size, zorder=3, clip_on=False)


def _draw_gates(axis: Axes, panel: _Panel, rows: Sequence[Row]) -> None:
    for gate in dict.fromkeys(row.gate for row in rows):
        limit = panel.limit(gate)
        if limit is None:
            continue
        axis.axvline(limit, color=_BAD, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
        axis.annotate(
            gate.name.removeprefix("export "),
            (limit, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=_BAD,
            fontsize=8,
        )


def _dress(axis: Axes, panel: _Panel) -> None:
    axis.set_title(panel.title, loc="left", color=_INK, fontsize=10, fontweight="bold", pad=16)
    axis.xaxis.set_major_locator(LogLocator(numticks=8))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(axis="both", color=_GRID, linewidth=0.6)
    axis.tick_params(length=0, colors=_FAINT, labelcolor=_INK)
    for side in axis.spines.values():
        side.set_visible(False)


def _range(panel: _Panel, rows: Sequence[Row]) -> Range:
    """Whole decades, one of them free below the smallest value and above the largest."""
    values = [panel.value(row) for row in rows] + [panel.limit(row.gate) or 0.0 for row in rows]
    exponents = [round(math.log10(value), 3) for value in values if math.isfinite(value) and value > 0]
    if not exponents:
        return _FALLBACK
    return 10.0 ** (math.floor(min(exponents)) - 1), 10.0 ** (math.floor(max(exponents)) + 1)


def _deviation(row: Row) -> float:
    """1 - cosine; rounding can take it a hair below 0."""
    return max(1 - row.parity.min_cosine, 0.0) if row.parity and not math.isnan(row.parity.min_cosine) else math.nan


def _inline(document: str, name: str) -> str:
    """The `svg` element alone, its ids made unique, its colours the page's, its size the column's."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font(-family)?: ([^;\"]*?)'[^;\"]*", r"font\1: \2var(--font)", svg)
    for stand_in, colour in _COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return re.sub(r'width="[^"]*" (?=[^>]*>)', 'width="100%" ', re.sub(r' height="[^"]*"', "", svg, count=1), count=1)
