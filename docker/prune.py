"""Remove from installed packages what a running worker never opens: ``python docker/prune.py SITE PATTERNS``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def prune(site: Path, patterns: list[str]) -> None:
    """Delete every file and folder under `site` that one of the globs names."""
    for pattern in patterns:
        for path in list(site.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def read_patterns(path: Path) -> list[str]:
    """The lines of a list that are neither empty nor comments."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


if __name__ == "__main__":
    prune(Path(sys.argv[1]), read_patterns(Path(sys.argv[2])))
