"""The peers' environments: one below ``build/peers`` for each, from its hashed requirements."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements" / "peers"
FOLDER = ROOT / "build" / "peers"
_TIMEOUT_S = 900
_STAMP = ".installed"


async def make(name: str) -> Path:
    """The environment's Python; made when it is missing or its requirements changed. Raises BenchError with why."""
    folder, requirements = FOLDER / name, REQUIREMENTS / f"{name}.txt"
    python, stamp = folder / "bin" / "python", folder / _STAMP
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing the peer {name} into {folder}", flush=True)
    uv = str(Path(sys.executable).parent / "uv")
    if not python.exists():
        await run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
    await run(uv, "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(requirements))
    stamp.write_text(wanted)
    return python


async def run(*command: str, timeout_s: float = _TIMEOUT_S) -> None:
    """Run a command in the repository's root. Raises BenchError with its last words when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        raise BenchError(f"{Path(command[0]).name} took more than {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise BenchError(f"{Path(command[0]).name} failed: {(lines or ['it said nothing'])[-1].strip()[:200]}")


def installed_mb(python: Path) -> float:
    """Megabytes (10^6) of everything installed for this Python, less bytecode."""
    return sum(path.stat().st_size for site in (python.parents[1] / "lib").glob("*") for path in files(site)) / 1e6


def files(folder: Path) -> Iterator[Path]:
    """Every file below, less bytecode."""
    return (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
