from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from export import plots
from export.report import FileCheck, LaneNote, Report, Row, print_report, printable
from export.report_html import render, write
from heimdex_clip.encoder import manifest
from heimdex_clip.encoder.gates import EXPORT_FP16, EXPORT_FP32, Parity
from heimdex_clip.errors import SettingsError
from tests import tiny_model

GOOD = Row("pictures", "a.png", "cpu", EXPORT_FP32, True, Parity(1.0, 1e-6, 1))


@pytest.fixture
def report(tmp_path: Path) -> Report:
    folder = tiny_model.build(tmp_path / "tiny")
    return Report(
        folder=folder,
        model=manifest.load(folder),
        manifest_sha256="f" * 64,
        created="2026-01-02 03:04 UTC",
        reference=True,
        files=(FileCheck("image.fp32.onnx", 10, "a" * 64),),
        lanes=(LaneNote("cpu", "fp32", {"threads": "2"}), LaneNote("cuda", "fp16", passed_over="no driver")),
        rows=(GOOD, Row("texts", "'a <b> & $x_1$'", "cpu", EXPORT_FP32, True, Parity(1 - 1e-9, 0.0, 1))),
    )


def failing(report: Report, row: Row) -> Report:
    return replace(report, rows=(*report.rows, row))


def printed(report: Report) -> str:
    out = io.StringIO()
    print_report(report, Console(file=out, width=140))
    return out.getvalue()


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (replace(GOOD, same_input=None), ""),
        (replace(GOOD, same_input=False), "another input than the reference's"),
        (replace(GOOD, parity=Parity(0.99, 1e-6, 1)), "fails the gate export fp32"),
        (replace(GOOD, parity=Parity(1.0, 1e-3, 1)), "fails the gate export fp32"),
        (replace(GOOD, parity=Parity(1.0, 1e-3, 1), gate=EXPORT_FP16), ""),
        (replace(GOOD, parity=Parity(math.nan, math.nan, 1)), "fails the gate export fp32"),
        (replace(GOOD, parity=None), "not measured"),
        (replace(GOOD, problem="The encoder failed"), "The encoder failed"),
    ],
)
def test_a_row_holds_or_says_why_not(report: Report, row: Row, fault: str) -> None:
    assert row.fault == fault
    assert row.holds is (not fault)
    assert failing(report, row).passed is (not fault)


def test_an_altered_file_fails_the_report(report: Report) -> None:
    altered = replace(report, files=(FileCheck("x", 1, "a" * 64, "x has another sha256"),))
    assert not altered.passed
    assert "FAILED  x has another sha256" in printed(altered)
    assert "1 files, 1 altered" in altered.summary


def test_a_report_without_vectors_proves_nothing(report: Report) -> None:
    empty = replace(report, rows=())
    assert not empty.passed
    assert printed(empty).splitlines()[-1].startswith("FAILED: tiny untrained-0: ")


def test_the_table_shows_every_row_and_ends_with_the_summary(report: Report) -> None:
    lines = printed(report).splitlines()
    assert any(re.search(r"a\.png +│ cpu +│ +yes +│ 1\.000000000000 │ 1\.0e-06 │ holds", line) for line in lines)
    assert "lane cuda did not run: no driver" in lines
    assert lines[-1] == report.summary
    assert report.summary.startswith("PASSED: tiny untrained-0: 1 files hold; 2 comparisons hold; cosine >= ")


def test_the_worst_figures_are_the_summarys_and_a_nan_is_the_worst(report: Report) -> None:
    assert report.worst == Parity(1 - 1e-9, 1e-6, 2)
    spoilt = failing(report, replace(GOOD, parity=Parity(math.nan, math.nan, 1)))
    assert spoilt.worst is not None
    assert math.isnan(spoilt.worst.min_cosine)
    assert "1 of 3 comparisons failed" in spoilt.summary


@pytest.mark.parametrize(
    ("text", "line"), [("a\n b\t c", "a b c"), ("x" * 80, "x" * 59 + "…"), ("a\x1b[31mb\u200b", "a [31mb "), ("", "")]
)
def test_printable_is_one_plain_line(text: str, line: str) -> None:
    assert printable(text) == line


class Page(HTMLParser):
    """Collects what a browser would fetch, the ids, and the visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.words = ""
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data") and not (value or "").startswith("#"):
                self.fetched.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_needs_nothing_from_outside(report: Report) -> None:
    page = render(report)
    assert Page(page).fetched == []
    assert "script" not in Page(page).tags
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_the_page_has_light_and_dark_and_unique_ids(report: Report) -> None:
    page = render(report)
    assert "prefers-color-scheme: dark" in page
    ids = Page(page).ids
    assert len(ids) == len(set(ids))


def test_the_pages_drawings_take_their_colours_from_the_page(report: Report) -> None:
    svg = plots.draw("one", report.rows, ["cpu"], plots.ranges(report.rows))
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    assert "var(--lane-0)" in svg
    assert "var(--bad)" in svg  # the gate


def test_the_page_tells_what_was_found(report: Report) -> None:
    words = Page(render(report)).words
    for expected in (
        "Passed",
        "untrained",
        "a.png",
        "'a <b> & $x_1$'",
        report.model.model_digest,
        "no driver",
        "f" * 64,
    ):
        assert expected in words


def test_names_from_outside_cannot_become_markup(report: Report) -> None:
    nasty = failing(report, replace(GOOD, name="<script>alert(1)</script>", problem="<img src=x>"))
    page = Page(render(nasty))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "Failed" in page.words


def test_a_page_of_failures_can_be_drawn(report: Report) -> None:
    rows = (replace(GOOD, parity=None, problem="no"), replace(GOOD, parity=Parity(math.nan, math.inf, 1)))
    assert "Failed" in Page(render(replace(report, rows=rows))).words
    assert "Failed" in Page(render(replace(report, rows=()))).words


def test_write_makes_the_folder_and_says_when_it_cannot(report: Report, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    write(report, page)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(SettingsError, match="cannot write"):
        write(report, page / "below.html")
