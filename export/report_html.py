"""The report as one HTML file that needs nothing from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from export import plots
from export.report import Report, Row, printable
from heimdex_clip.encoder.gates import Gate
from heimdex_clip.errors import SettingsError

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class _Lane:
    name: str
    colour: int
    mark: str


@dataclass(frozen=True, slots=True)
class _Group:
    title: str
    rows: Sequence[Row]
    lanes: Sequence[_Lane]
    svg: Markup

    @property
    def failures(self) -> int:
        return sum(not row.holds for row in self.rows)

    @property
    def compared_inputs(self) -> int:
        return len({row.name for row in self.rows if row.same_input is not None})

    @property
    def equal_inputs(self) -> int:
        unequal = {row.name for row in self.rows if row.same_input is False}
        return self.compared_inputs - len(unequal)


def write(report: Report, path: Path) -> None:
    """Write the page, making its folder. Raises SettingsError when it cannot be written."""
    page = render(report)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write {path} ({error.strerror})") from None


def render(report: Report) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    gates: list[Gate] = list(dict.fromkeys(row.gate for row in report.rows))
    return environment.get_template("verify.html.j2").render(
        report=report,
        groups=_groups(report),
        gates=gates,
        ran=[lane for lane in report.lanes if not lane.passed_over],
        altered=sum(bool(file.problem) for file in report.files),
        printable=printable,
    )


def _groups(report: Report) -> list[_Group]:
    # This machine's lanes first, so that they keep their colours with and without a reference run.
    lanes = list(dict.fromkeys([*(lane.name for lane in report.lanes), *(row.lane for row in report.rows)]))
    axis_ranges = plots.ranges(report.rows)
    return [
        _Group(
            title=name[:1].upper() + name[1:],
            rows=rows,
            lanes=[
                _Lane(lane, *plots.style(index))
                for index, lane in enumerate(lanes)
                if lane in {row.lane for row in rows}
            ],
            # Markup: made by plots.draw, which escapes what it draws.
            svg=Markup(plots.draw(f"plot{position}", rows, lanes, axis_ranges)),  # noqa: S704
        )
        for position, (name, rows) in enumerate(report.groups.items())
    ]
