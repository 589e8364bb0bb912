"""The workflow: what it runs, what it may do, and that it holds no secret."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXT = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
WORKFLOW: dict[str, Any] = yaml.load(TEXT, Loader=yaml.BaseLoader)  # keeps `on` a word
JOBS: dict[str, Any] = WORKFLOW["jobs"]


def steps() -> list[dict[str, Any]]:
    return [step for job in JOBS.values() for step in job["steps"]]


def scripts(job: str) -> str:
    return "\n".join(step.get("run", "") for step in JOBS[job]["steps"])


def test_there_is_one_and_it_runs_on_pushes_and_tags() -> None:
    assert [path.name for path in PATHS] == ["ci.yml"]
    assert WORKFLOW["on"]["push"] == {"branches": ["main"], "tags": ["v*"]}
    assert "pull_request" in WORKFLOW["on"]


def test_every_action_is_pinned() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@(v[0-9]+|[0-9a-f]{40})", action)


def test_every_image_target_is_built_and_every_job_ends() -> None:
    targets = set(re.findall(r'^target "([\w-]+)"', (ROOT / "docker-bake.hcl").read_text(), re.MULTILINE)) - {"lane"}
    assert set(JOBS["images"]["strategy"]["matrix"]["target"]) == targets
    for job in JOBS.values():
        assert 0 < int(job["timeout-minutes"]) <= 60


def test_it_checks_before_it_pushes_and_pushes_only_tags_by_digest() -> None:
    assert ".ci/run" in scripts("check")
    assert JOBS["images"]["needs"] == "check"
    assert "push-by-digest=true" in scripts("images")
    (login,) = (step for step in steps() if "login-action" in step.get("uses", ""))
    assert login["if"] == "github.ref_type == 'tag'"
    (build,) = (step for step in JOBS["images"]["steps"] if "docker buildx bake" in step.get("run", ""))
    assert build["env"]["PUSH"] == "${{ github.ref_type == 'tag' }}"


def test_the_release_carries_digests_and_the_budget_table() -> None:
    assert "make image-budget" in scripts("budget")
    assert re.search(r"^image-budget:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert JOBS["release"]["if"] == "github.ref_type == 'tag'"
    assert set(JOBS["release"]["needs"]) == {"budget", "images"}
    assert "image-budget.txt" in scripts("release")
    assert "digest-*" in scripts("release")


def test_it_may_do_no_more_than_it_must() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in JOBS["check"]
    assert JOBS["images"]["permissions"] == {"contents": "read", "packages": "write"}
    assert JOBS["release"]["permissions"] == {"contents": "write"}


def test_no_secret_is_written_out_and_no_expression_reaches_a_shell() -> None:
    assert set(re.findall(r"secrets\.(\w+)", TEXT)) == {"GITHUB_TOKEN"}
    assert not re.search(r"(password|token|key): *[A-Za-z0-9]{12,}", TEXT)
    for step in steps():
        # A branch's name could otherwise be a command.
        assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("script", [step["run"] for step in steps() if "run" in step])
def test_every_script_is_bash(script: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
