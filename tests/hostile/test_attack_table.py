"""The table of attacks in docs/security.md holds what the suite runs, so that its counts cannot rot."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.target import Target

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"\| ([^|]+) \| ([\d,]+) \| ((?:`tests/[\w/]+\.py(?:::\w+)?`(?:, )?)+) \| ([^|]+) \|")
_PLACE = re.compile(r"`([^`]+)`")


def rows() -> list[tuple[str, int, list[str]]]:
    """The table's rows: attack, cases, and places, each a test file, a test in one, or a table in one (upper case)."""
    text = (ROOT / "docs" / "security.md").read_text()
    lines = text.split("## What was tried\n")[1].split("\n## ")[0].split("|---|---|---|---|\n")[1].strip().split("\n")
    found = [_ROW.fullmatch(line) for line in lines]
    broken = [line for line, match in zip(lines, found, strict=True) if match is None]
    assert not broken, f"not rows of the form attack, cases, tests, what the caller sees: {broken}"
    return [(match[1], int(match[2].replace(",", "")), _PLACE.findall(match[3])) for match in found if match]


def collected(files: list[str]) -> list[str]:
    """The ids of all tests in these files, as `make check` runs them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts=", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def cases(place: str, ids: list[str]) -> int:
    """How many cases a place stands for: its tests, or what stands there in upper case: a table, a number, a fuzzer."""
    file, _, name = place.partition("::")
    if not name:
        return sum(line.startswith(f"{file}::") for line in ids)
    if not name.isupper():
        return sum(line == place or line.startswith(f"{place}[") for line in ids)
    table = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
    if isinstance(table, Target):
        return table.runs
    return table if isinstance(table, int) else len(table)


def test_the_counts_are_those_of_the_suite() -> None:
    table = rows()
    assert len({attack for attack, _, _ in table}) == len(table) > 1
    ids = collected(sorted({place.split("::")[0] for _, _, places in table for place in places}))
    empty = [place for _, _, places in table for place in places if not cases(place, ids)]
    assert not empty, f"no tests there: {empty}"
    actual = {attack: sum(cases(place, ids) for place in places) for attack, _, places in table}
    assert {attack: count for attack, count, _ in table} == actual
