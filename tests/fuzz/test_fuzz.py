"""Each target on some thousands of inputs, the same ones at every run; `make fuzz` goes on for longer."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import TARGETS
from tests.fuzz.mutator import json_mutator

_ROOT = Path(__file__).parents[2]

atheris_only = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed: it has wheels for Linux x86-64 only"
)


@atheris_only
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_breaks_a_promise(target: str, tmp_path: Path, model_dir: Path) -> None:
    assert model_dir.is_dir()
    runs = importlib.import_module(f"tests.fuzz.fuzz_{target}").TARGET.runs
    command = [sys.executable, "-m", "tests.fuzz", target, f"--runs={runs}", f"--crashes={tmp_path}"]
    # Not measured: coverage and the fuzzer's instrumentation would slow each other down, and its exit skips both.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        command, cwd=_ROOT, env={**env, "PYTHONHASHSEED": "0"}, capture_output=True, timeout=150, check=False
    )
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"{said[-4000:]}\n{[path.name for path in tmp_path.iterdir()]}"
    assert f"Done {runs} runs" in said
    print(f"{target}: {runs} inputs")


@atheris_only
def test_a_broken_promise_ends_the_run_and_its_input_is_kept(tmp_path: Path) -> None:
    """The harness itself: a target that forbids one byte."""
    script = (
        "import runpy, sys\n"
        "from tests.fuzz import fuzz_url\n"
        "from tests.fuzz.target import Target\n"
        "from contextlib import nullcontext\n"
        "def check(data): assert b'!' not in data\n"
        "fuzz_url.TARGET = Target(lambda *_: nullcontext(check), lambda: [b'a'], json=False, runs=1)\n"
        f"sys.argv = ['fuzz', 'url', '--runs=100000', '--crashes={tmp_path}']\n"
        "runpy.run_module('tests.fuzz', run_name='__main__')\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=_ROOT, env=env, capture_output=True, timeout=150, check=False
    )
    (kept,) = tmp_path.iterdir()
    assert done.returncode != 0
    assert kept.name.startswith("url-crash-")
    assert b"!" in kept.read_bytes()


def test_the_same_seed_changes_json_in_the_same_way() -> None:
    mutate = json_mutator(lambda data, _: data + b" ")
    document = b'{"items": [{"text": "a"}, 1, null], "op": "info"}'
    changed = [mutate(document, 4096, seed) for seed in range(300)]
    assert changed == [mutate(document, 4096, seed) for seed in range(300)]
    assert len(set(changed)) > 150
