"""``heimdex-clip fetch-model``: a model folder for the local backend or a worker, checked and put in place."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from heimdex_clip import _fetch

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "fetch-model",
        allow_abbrev=False,
        help="bring a model folder here and check every hash of it",
        description="Bring a model folder from a directory or a URL (under which manifest.json lies), check every"
        " hash, and put it in place whole or not at all.",
    )
    parser.add_argument("source", metavar="SOURCE", help="a directory, or an http or https URL")
    parser.add_argument(
        "--to", metavar="DIR", help="where to (default: CLIP_MODEL_DIR, else models/<model>-<pretrained>)"
    )
    parser.add_argument(
        "--manifest-sha256",
        metavar="HEX",
        default="",
        help="what manifest.json must hash to (default: MODEL_MANIFEST_SHA256); without it the source is trusted",
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Fetch; 0. Raises ModelError and SettingsError."""
    to = arguments.to or environ.get("CLIP_MODEL_DIR", "")
    folder, model = _fetch.fetch(
        arguments.source,
        Path(to) if to else None,
        manifest_sha256=arguments.manifest_sha256 or environ.get("MODEL_MANIFEST_SHA256", ""),
        say=lambda line: print(line, file=sys.stderr),
    )
    if model.untrained:
        print("These weights are untrained: the vectors carry no meaning.", file=sys.stderr)
    print(f"{folder}  {model.model} {model.pretrained}, model_digest {model.model_digest}")
    return 0
