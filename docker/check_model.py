"""Hold every file of a copied model folder to the manifest beside it: ``check_model.py FOLDER``.

A worker does so at its start; here a stale engine already ends the build.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Beside this folder: the checkout, or what the build copied of it.
sys.path.insert(0, str(Path(__file__).parent.parent))

from heimdex_clip.encoder import manifest
from heimdex_clip.errors import ClipError


def check(folder: Path) -> None:
    """Raises ModelError for a file that the manifest does not name or that differs from it."""
    model = manifest.load(folder)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != "manifest.json":
            manifest.check_file(folder, name, model.entry(name))


if __name__ == "__main__":
    try:
        check(Path(sys.argv[1]))
    except ClipError as error:
        sys.exit(f"check_model.py: {error}")
