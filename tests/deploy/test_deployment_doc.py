"""docs/deployment.md: each command runs as it stands there, and prints what is printed there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.__main__ import main
from tests.deploy.conftest import Run
from tests.deploy.platform import Platform
from tests.heimdex_clip import endpoint

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "deployment.md"
_BLOCK = re.compile(r"(?:<!-- (\w+): (.+?) -->\n)?```sh\n(.*?)```\n(?:```text\n(.*?)```\n)?", re.DOTALL)
_PYTHON = ".venv/bin/python"
_DEPLOY = f"{_PYTHON} -m deploy "


@dataclass(frozen=True)
class Block:
    """One block of commands: `how` is "runs" or "needs", `what` on which stand-in or what; `printed` may be empty."""

    how: str
    what: str
    commands: str
    printed: str


BLOCKS = [Block(*(part or "" for part in found)) for found in _BLOCK.findall(DOCUMENT.read_text())]


def blocks(what: str) -> list[Block]:
    return [block for block in BLOCKS if (block.how, block.what) == ("runs", what)]


def arguments(block: Block) -> list[str]:
    """Of a block that is one deploy command."""
    (line,) = block.commands.splitlines()
    assert line.startswith(_DEPLOY)
    return shlex.split(line.removeprefix(_DEPLOY))


def prepare(platform: Platform, argv: list[str]) -> None:
    """What has happened at the platform by the time of the command."""
    if argv[0] == "status":
        worker = {"id": "w7k2", "status": "RUNNING", "gpuTypeId": "NVIDIA RTX A5000", "isStale": False, "gpuCount": 1}
        platform.workers = [worker]
        platform.jobs |= {"completed": 1988, "failed": 12, "inProgress": 2}
        platform.spent_usd = 31.4
        jobs = [{"event": "job", "code": "OK", "total_ms": 80 + number % 70} for number in range(500)]
        failed = [{"event": "job", "code": "DOWNLOAD_FAILED", "total_ms": 310}] * 3
        platform.log_lines = [json.dumps(line) for line in [*jobs, *failed]]


def printed(run: Run, runpod: Platform, argv: list[str]) -> str:
    prepare(runpod, argv)
    if argv[0] == "plan":
        done = subprocess.run(
            [sys.executable, "-m", "deploy", *argv], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout
    code, out, err = run(*argv, *(["--quiet-s", "0.5"] if argv[0] == "status" else []))
    assert (code, err) == (0, "")
    return out.replace(runpod.url, "https://api.runpod.io")


def test_every_block_says_how_it_is_held() -> None:
    assert len(BLOCKS) >= 10
    for block in BLOCKS:
        assert (block.how, block.what) in {("runs", "bash"), ("runs", "platform"), ("runs", "jobs")} or (
            block.how == "needs" and block.what
        ), block.commands


def test_the_walk_prints_what_the_document_shows(run: Run, runpod: Platform) -> None:
    walk = blocks("platform")
    assert [arguments(block)[0] for block in walk] == [
        "up",
        "up",
        "up",
        "update",
        "status",
        "plan",
        "rollback",
        "down",
    ]
    for block in walk:
        assert printed(run, runpod, arguments(block)).rstrip() == block.printed.rstrip()
    assert runpod.endpoints == {}


def test_bash_commands_run() -> None:
    assert blocks("bash")
    for block in blocks("bash"):
        script = block.commands.replace(_PYTHON, shlex.quote(sys.executable))
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, capture_output=True, check=True)


async def test_curl_and_openssl_get_an_answer() -> None:
    import asyncio

    (block,) = blocks("jobs")
    async with endpoint.serving(endpoint.embed, endpoint_id="ep1abc") as api:
        script = block.commands.replace("https://api.runpod.ai/v2", api.base_url)
        environ = {**os.environ, "RUNPOD_API_KEY": endpoint.API_KEY, "EMBEDDING_HMAC_SECRET": endpoint.SECRET}
        done = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", script, env=environ, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(done.communicate(), 30)
    answer: dict[str, Any] = json.loads(out)
    assert answer["status"] == "COMPLETED"
    assert answer["output"]["request_id"] == "first"
    assert len(answer["output"]["embedding"]) == endpoint.DIM


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.how == "needs"], ids=lambda block: block.what)
def test_what_cannot_run_here_is_at_least_bash(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.commands, text=True, check=True)


def test_the_runbooks_commands_are_known() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    for command in set(re.findall(r"python -m deploy (\w+)", text + DOCUMENT.read_text())):
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"], {})
        assert caught.value.code == 0
