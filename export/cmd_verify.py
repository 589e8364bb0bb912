"""``python -m export verify``: hold a model folder to its hashes, its golden vectors and PyTorch itself."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from heimdex_clip.encoder.manifest import Manifest

_TABLE_COLUMNS = 118  # where standard output is no terminal


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "verify",
        help="check a model folder",
        description="Check every hash, the golden vectors on this machine's lanes and the golden texts' tokens; "
        "with --reference also a fresh PyTorch run over photographs and hostile pictures. Exit code 1 when "
        "anything fails.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="model folder")
    parser.add_argument("--reference", action="store_true", help="run PyTorch afresh beside every lane")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="the reference's weights, where not published")
    parser.add_argument(
        "--lane", nargs="+", default=[], metavar="LANE", help="only these lanes; each must be able to run"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="report (reports/verify-MODEL-TAG.html)")


def run(args: argparse.Namespace) -> int:
    """Verify, print the table and write the page; 0 when everything holds, else 1. Raises ClipError."""
    from rich.console import Console

    from export.progress import Progress
    from export.report import print_report
    from export.verification import Request, verify

    progress = Progress()
    report = verify(Request(args.folder, args.cache, tuple(args.lane), args.reference, args.checkpoint), progress)
    print_report(report, Console(highlight=False, width=None if sys.stdout.isatty() else _TABLE_COLUMNS))
    page = args.html or Path("reports") / _page_name(report.model)
    with progress.step(f"writing {page}"):
        from export.report_html import write

        write(report, page)
    return 0 if report.passed else 1


def _page_name(model: Manifest) -> str:
    # A manifest comes with its folder: its names must not lead out of reports/.
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"verify-{model.model}-{model.pretrained}.html")
