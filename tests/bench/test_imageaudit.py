"""What the audit reads: licences from metadata, findings from pip-audit's own words."""

from __future__ import annotations

import json
from importlib.metadata import distributions
from pathlib import Path

import pytest

from bench import imageaudit
from bench.errors import BenchError


def install(site: Path, name: str, *metadata: str) -> None:
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *metadata]))


def test_each_package_is_listed_with_the_licence_that_it_states(tmp_path: Path) -> None:
    classifier = "Classifier: License :: OSI Approved :: BSD License"
    install(tmp_path, "Expressed", "License-Expression: MIT OR Apache-2.0", "License: other", classifier)
    install(tmp_path, "named", "License: Apache-2.0", classifier)
    install(tmp_path, "fulltext", "License: Permission is hereby granted\n        to any person", classifier)
    install(tmp_path, "silent")
    assert imageaudit.licence_table(list(distributions(path=[str(tmp_path)]))).splitlines() == [
        "| package | version | licence |",
        "| --- | --- | --- |",
        "| expressed | 1.0 | MIT OR Apache-2.0 |",
        "| fulltext | 1.0 | BSD License |",
        "| named | 1.0 | Apache-2.0 |",
        "| silent | 1.0 | not stated |",
    ]


def test_what_a_database_holds_against_a_package_is_told() -> None:
    vulnerable = {
        "name": "b",
        "version": "2",
        "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}, {"id": "X", "fix_versions": []}],
    }
    rows = [{"name": "a", "version": "1", "vulns": []}, vulnerable, {"name": "c", "skip_reason": "not found"}]
    found = imageaudit.read(json.dumps({"dependencies": rows, "fixes": []}))
    assert found.checked == 2
    assert found.vulnerabilities == ("b 2: PYSEC-1, fixed in 3", "b 2: X, fixed in no release")
    assert found.unknown == ("c",)


@pytest.mark.parametrize("output", ["", "Traceback", "[]", '{"dependencies": [{"vulns": [{}]}]}'])
def test_an_audit_without_an_answer_is_not_a_pass(output: str) -> None:
    with pytest.raises(BenchError, match="cannot be reached"):
        imageaudit.read(output)


async def test_a_service_that_cannot_answer_fails_in_one_line() -> None:
    with pytest.raises(BenchError, match="not audited") as caught:
        await imageaudit.look_up([imageaudit.lock("cpu")], ["no-such-service"])
    assert "\n" not in str(caught.value)
