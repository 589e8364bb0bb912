"""The document says what the samples say: generated again, every section and plot is the one that lies there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import document, plots, tables
from bench.markdown import Results

DOCUMENT = document.DOCUMENT
README = DOCUMENT.parent.parent / "README.md"


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, object]]:
    return document.load()


def test_every_generated_section_is_that_of_its_samples(results: Results) -> None:
    text = DOCUMENT.read_text()

    found = document.sections(results)

    assert found.keys() == tables.SECTIONS.keys()
    stale = [
        name for name, section in found.items() if f"<!-- begin {name} -->\n{section}\n<!-- end {name} -->" not in text
    ]
    assert stale == [], "run `python -m bench document`"


def test_every_section_has_one_place() -> None:
    text = DOCUMENT.read_text()

    for name in tables.SECTIONS:
        assert text.count(f"<!-- begin {name} -->") == text.count(f"<!-- end {name} -->") == 1


def test_every_plot_is_that_of_its_samples(results: Results, tmp_path: Path) -> None:
    for path in plots.write(results, tmp_path):
        committed = DOCUMENT.parent / plots.FOLDER.name / path.name
        assert committed.read_bytes() == path.read_bytes(), f"{path.name} is stale: run `python -m bench document`"
        assert path.stat().st_size < 100_000


def test_an_unfinished_run_and_a_rough_one_are_no_results(tmp_path: Path) -> None:
    (tmp_path / "peers.json").write_text('{"verdict": "unfinished"}')
    (tmp_path / "parity-quick.json").write_text('{"verdict": "held"}')
    (tmp_path / "lanes.json").write_text('{"verdict": "held"}')

    assert document.load(tmp_path).keys() == {"lanes"}
    assert document.sections({})["goals"] == "Not measured yet."


def test_the_readme_says_of_the_start_what_the_samples_say(results: Results) -> None:
    said = re.search(r"it is ([0-9.]+) times quicker than the\s+same model in PyTorch", README.read_text())

    measured = re.search(r"takes ([0-9.]+) ", tables.start(results))
    assert said is not None
    assert measured is not None
    assert float(said[1]) == round(float(measured[1]), 1)
