"""docs/runbook.md has every error code and every alert, and for each: what it means, how to look, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

import deploy.errors
import heimdex_clip.errors
from heimdex_clip.errors import WIRE_ERRORS, ClipError

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "runbook.md").read_text()
ENTRIES = {
    heading.strip("`"): body for heading, body in re.findall(r"^### (.+)\n((?:(?!^##).*\n?)*)", TEXT, re.MULTILINE)
}
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}


def codes(error: type[ClipError]) -> Iterator[str]:
    """The codes that the library and the deployment give, each where its class names one of its own."""
    if "code" in vars(error) and error.__module__ in (heimdex_clip.errors.__name__, deploy.errors.__name__):
        yield error.code
    for below in error.__subclasses__():
        yield from codes(below)


def test_every_code_and_every_alert_has_its_entry_and_nothing_else_has() -> None:
    assert set(WIRE_ERRORS) < set(codes(ClipError))
    assert set(ENTRIES) == {*codes(ClipError), *ALERTS}


def test_every_entry_says_what_it_means_how_to_look_and_what_to_do() -> None:
    for heading, body in ENTRIES.items():
        parts = re.findall(r"^- \*\*(\w+)\*\*: \S", body, re.MULTILINE)
        assert parts == ["Means", "Look", "Do"], heading


def test_every_alert_leads_to_its_entry() -> None:
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"


def test_links_inside_the_documents_lead_somewhere() -> None:
    for name in ("runbook.md", "deployment.md"):
        for target in re.findall(r"\]\(([^)]+)\)", (DOCS / name).read_text()):
            path, _, anchor = target.partition("#")
            if path.startswith("https:"):
                continue
            linked = (DOCS / (path or name)).resolve()
            assert linked.exists(), f"{name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in anchors, f"{name}: {target}"


def test_events_that_it_names_are_logged() -> None:
    root = DOCS.parent
    source = "\n".join(path.read_text() for path in [*root.glob("worker/**/*.py"), *root.glob("heimdex_clip/**/*.py")])
    for event in ("text_tower_failed", "lane_lost", "cannot_serve", "model_ready", "drained", "stopped"):
        assert event in TEXT
        assert f'"{event}"' in source
