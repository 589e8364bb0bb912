"""docs/alerts.yml against what worker/metrics.py exports."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from worker.metrics import Metrics
from worker.service import EmbeddingService
from worker.settings import Settings

PATH = Path(__file__).parents[2] / "docs" / "alerts.yml"
DOCUMENT = yaml.safe_load(PATH.read_text())
RULES: list[dict[str, Any]] = [rule for group in DOCUMENT["groups"] for rule in group["rules"]]

# Given to every series by the scrape itself.
_OF_THE_SCRAPE = {"job", "instance"}
_METRIC = re.compile(r"\b(?:clip|process|up)[a-z_]*\b(?=[{\[\s)]|$)")


def exported() -> dict[str, set[str]]:
    """Every series of a server that has worked, with its labels."""
    metrics = Metrics()
    metrics.request("/v1/embed/image", 200, "OK")
    metrics.item("OK", {"download_ms": 1.0, "total_ms": 2.0})
    metrics.batch("image", 4)
    model = SimpleNamespace(model="m", pretrained="p", model_digest="d")
    service = SimpleNamespace(
        admission=SimpleNamespace(queued=0, running=0),
        encoder=SimpleNamespace(manifest=model, lane=SimpleNamespace(name="cpu")),
    )
    metrics.watch(cast("EmbeddingService", service))
    series: dict[str, set[str]] = {"up": set()}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            series.setdefault(sample.name, set()).update(sample.labels)
    return series


SERIES = exported()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_the_rule_speaks_of_what_is_exported(rule: dict[str, Any]) -> None:
    names = set(_METRIC.findall(rule["expr"]))
    assert names
    assert names <= set(SERIES)
    labels = set(re.findall(r"(\w+)=~?\"", rule["expr"]))
    labels |= {name for by in re.findall(r"by \(([^)]*)\)", rule["expr"]) for name in by.split(", ")}
    assert labels <= _OF_THE_SCRAPE.union(*(SERIES[name] for name in names))


def test_a_name_that_is_not_exported_would_be_found() -> None:
    assert _METRIC.findall("rate(clip_item_total[5m]) > 1")[0] not in SERIES


def test_codes_and_stages_in_the_rules_exist() -> None:
    from heimdex_clip.errors import WIRE_ERRORS

    text = PATH.read_text()
    codes = {code for group in re.findall(r"code=~?\"([^\"]+)\"", text) for code in group.split("|")}
    assert codes
    assert codes <= set(WIRE_ERRORS)
    assert set(re.findall(r"stage=\"(\w+)\"", text)) == {"total"}


def test_the_queue_threshold_is_half_of_the_default() -> None:
    (rule,) = (rule for rule in RULES if rule["alert"] == "ClipQueueLong")
    assert rule["expr"] == f"clip_queued_items > {Settings().max_queued_items // 2}"


def test_every_rule_is_whole_and_named_once() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "runbook"}


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    checked = subprocess.run([promtool, "check", "rules", str(PATH)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    cases = tmp_path / "cases.yml"
    cases.write_text(yaml.safe_dump(_cases()))
    tested = subprocess.run([promtool, "test", "rules", str(cases)], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def _cases() -> dict[str, Any]:
    """Three rules played through: each silent on what is well, and loud on what is not."""
    fine = [
        {"series": 'up{job="heimdex-clip",instance="a"}', "values": "1x60"},
        {"series": 'clip_items_total{code="OK"}', "values": "0+600x60"},
        {"series": 'clip_items_total{code="INTERNAL"}', "values": "0+1x60"},
        {"series": 'clip_model_info{model_digest="d",instance="a"}', "values": "1x60"},
        {"series": 'clip_model_info{model_digest="d",instance="b"}', "values": "1x60"},
    ]
    bad = [
        {"series": 'up{job="heimdex-clip",instance="a"}', "values": "0x60"},
        {"series": 'clip_items_total{code="OK"}', "values": "0+600x60"},
        {"series": 'clip_items_total{code="INTERNAL"}', "values": "0+60x60"},
        {"series": 'clip_model_info{model_digest="d",instance="a"}', "values": "1x60"},
        {"series": 'clip_model_info{model_digest="e",instance="b"}', "values": "1x60"},
    ]
    names = ("ClipDown", "ClipOwnFaults", "ClipModelsDiffer")
    quiet = [{"eval_time": "50m", "alertname": name, "exp_alerts": []} for name in names]
    down = {"severity": "page", "job": "heimdex-clip", "instance": "a"}
    summaries = {
        "ClipDown": (down, "a does not answer /metrics"),
        "ClipOwnFaults": ({"severity": "page"}, "9.091% of the inputs fail by the worker's own fault"),
        "ClipModelsDiffer": (
            {"severity": "page"},
            "workers serve 2 different models: their vectors may not be compared",
        ),
    }
    loud = [
        {
            "eval_time": "50m",
            "alertname": name,
            "exp_alerts": [
                {
                    "exp_labels": labels,
                    "exp_annotations": {"summary": summary, "runbook": f"docs/runbook.md#{name.lower()}"},
                }
            ],
        }
        for name, (labels, summary) in summaries.items()
    ]
    return {
        "rule_files": [str(PATH)],
        "evaluation_interval": "1m",
        "tests": [
            {"interval": "1m", "input_series": fine, "alert_rule_test": quiet},
            {"interval": "1m", "input_series": bad, "alert_rule_test": loud},
        ],
    }
