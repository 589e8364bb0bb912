"""What pip makes of the package: with a compiler a wheel of the stable ABI, without one the same package on Pillow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXTENSION = "heimdex_clip/encoder/_resample.abi3.so"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The package's own files, so that no build writes into the working tree."""
    copy = tmp_path / "checkout"
    built = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "heimdex_clip", copy / "heimdex_clip", ignore=built)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


def wheel(checkout: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [*command, "--wheel-dir", str(checkout / "dist"), str(checkout)],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        timeout=120,
    )
    (made,) = (checkout / "dist").glob("*.whl")
    return made


def variants(unpacked: Path) -> list[str]:
    """What the package in a folder can run."""
    program = "from heimdex_clip.encoder import resample; print(resample.__file__, *resample.variants())"
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    file, *names = done.stdout.split()
    assert Path(file).is_relative_to(unpacked)
    return names


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler here")
def test_a_wheel_holds_the_extension_for_every_later_python(checkout: Path) -> None:
    made = wheel(checkout)
    assert "-cp311-abi3-" in made.name
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
        archive.extractall(checkout / "unpacked")
    assert EXTENSION in names
    assert "heimdex_clip/encoder/_resample.pyi" in names
    assert not [name for name in names if name.endswith((".c", ".h"))]
    assert variants(checkout / "unpacked")[-2:] == ["c", "pillow"]


def test_without_a_compiler_the_package_installs_and_runs_on_pillow(checkout: Path) -> None:
    with zipfile.ZipFile(wheel(checkout, CC="/bin/false")) as archive:
        assert EXTENSION not in archive.namelist()
        archive.extractall(checkout / "unpacked")
    assert variants(checkout / "unpacked") == ["pillow"]
