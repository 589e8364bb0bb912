from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import environments
from bench.errors import BenchError

PEERS = sorted(environments.REQUIREMENTS.glob("*.txt"))


@pytest.mark.parametrize("requirements", PEERS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned_and_hashed(requirements: Path) -> None:
    text = requirements.read_text()
    pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]

    assert pins
    assert all("==" in pin for pin in pins)
    assert text.count("--hash=sha256:") >= len(pins)
    assert "://" not in text


def test_there_is_an_environment_for_every_peer() -> None:
    assert {path.stem for path in PEERS} == {"own", "fastembed", "modern-onnx-clip", "infinity", "onnxruntime", "lanes"}


async def test_a_command_that_fails_is_told_of_by_its_last_line() -> None:
    with pytest.raises(BenchError, match=r"failed: it is broken$"):
        await environments.run(sys.executable, "-c", "print('first'); raise SystemExit('it is broken')")


async def test_a_command_that_hangs_is_ended() -> None:
    with pytest.raises(BenchError, match="took more than"):
        await environments.run(sys.executable, "-c", "import time; time.sleep(60)", timeout_s=0.2)


def test_bytecode_is_not_counted(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    (site / "__pycache__").mkdir(parents=True)
    (site / "module.py").write_bytes(b"x" * 2_000_000)
    (site / "__pycache__" / "module.pyc").write_bytes(b"x" * 5_000_000)

    assert environments.installed_mb(python) == 2.0
