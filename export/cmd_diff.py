"""``python -m export diff``: may vectors of two model folders be compared? The drift gate says."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from export.drift import Drift


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "diff",
        help="compare two model folders",
        description="Compute the golden vectors of each folder with the other one and compare. Exit code 1 when "
        "the folders' vectors may not be compared.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="model folder")
    parser.add_argument("b", type=Path, metavar="B", help="model folder")
    parser.add_argument("--runtime", default="auto", help="serving lane, as for WORKER_RUNTIME (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Compare and print; 0 when compatible, else 1. Raises ClipError."""
    from export.drift import compare
    from export.progress import Progress

    result = compare(args.a, args.b, runtime=args.runtime, progress=Progress())
    _print(result)
    return 0 if result.compatible else 1


def _print(result: Drift) -> None:
    from export.report import printable
    from heimdex_clip.encoder.gates import DRIFT

    for name, model in (("A", result.a), ("B", result.b)):
        print(f"{name}  {model.model} {model.pretrained}  digest {model.model_digest}")
    if result.a.model_digest == result.b.model_digest:
        print("The digests are equal: the same weights, preprocessing and tokenizer.")
    for row in result.rows:
        verdict = "holds" if row.holds else "DRIFTS"
        print(f"{row.direction:>6}  cosine {row.parity.min_cosine:.9f}  {verdict:<6}  {printable(row.name)}")
    for reason in result.reasons:
        print(f"not comparable: {reason}")
    verdict = "compatible" if result.compatible else "NOT compatible"
    print(f"{verdict}: {result.summary}; gate '{DRIFT.name}': cosine >= {DRIFT.min_cosine}")
