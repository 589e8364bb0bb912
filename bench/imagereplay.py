"""The Dockerfile's steps below `FROM`, replayed into a folder: the same scripts, no container."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

ROOT = Path(__file__).parent.parent
CODE = ("heimdex_clip", "worker")
_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Image:
    """A replayed image's folders: what the container has as /site, /models/model and /app."""

    lane: str
    site: Path
    model: Path
    app: Path
    python: Path


def base_python() -> Path:
    """The interpreter below this virtual environment, which has none of its packages."""
    return Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


async def install(lane: str, site: Path, *, python: Path) -> None:
    """Put a lane's packages into the folder `site`, which is emptied before. Raises BenchError."""
    await asyncio.to_thread(shutil.rmtree, site, ignore_errors=True)
    tools = {"UV": str(Path(sys.executable).parent / "uv"), "PYTHON": str(python)}
    await _run("sh", "docker/install.sh", lane, str(site), **tools)


async def replay(lane: str, model_dir: Path, folder: Path, *, python: Path) -> tuple[Image, bool]:
    """Make the image's folders in `folder`, which is emptied before.

    Also returns whether the model is whole: False when the lane needs engines and `model_dir` has none, whose
    other files are copied then. Raises BenchError with a step's own last words.
    """
    image = Image(lane, folder / "site", folder / "models" / "model", folder / "app", python)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    await install(lane, image.site, python=python)
    _copy_code(image.app)
    # This environment has the setuptools that the image's build has; the stable ABI serves the other interpreter.
    await _run("sh", "docker/extension.sh", str(image.app), PYTHON=sys.executable)
    search = f"{image.app}:{image.site}"
    await _run(str(python), "-S", "docker/bytecode.py", str(image.app), str(image.site), PYTHONPATH=search)
    whole = not lane.startswith("tensorrt") or _has_engines(lane, model_dir)
    if whole:
        await _run("sh", "docker/model.sh", lane, str(model_dir), str(image.model), PYTHON=str(python))
    else:
        _copy_without_engines(model_dir, image.model)
    return image, whole


def _copy_code(app: Path) -> None:
    for package in CODE:
        shutil.copytree(ROOT / package, app / package, ignore=shutil.ignore_patterns("__pycache__", "*.so", "csrc"))
    for name in ("docker/entrypoint.sh", "docker/healthcheck.py", "LICENSE"):
        shutil.copy(ROOT / name, app)


def _has_engines(lane: str, model_dir: Path) -> bool:
    return any(model_dir.glob(f"engines/{lane}-sm*"))


def _copy_without_engines(model_dir: Path, model: Path) -> None:
    model.mkdir(parents=True)
    for name in ("manifest.json", "golden.npz", "tokenizer.json"):
        shutil.copy(model_dir / name, model)


async def _run(*argv: str, **environment: str) -> None:
    step = " ".join(argv[:3])
    try:
        await asyncio.to_thread(
            subprocess.run,
            argv,
            cwd=ROOT,
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        words = " ".join((error.stderr or error.stdout).split())[-500:]
        raise BenchError(f"{step} ended with {error.returncode}: {words}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{step}: {type(error).__name__}") from None
