"""``python -m export onnx``: weights -> a model folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_UNTRAINED_WARNING = "WARNING: these weights are untrained: the vectors carry no meaning."


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "onnx",
        help="export a model to ONNX",
        description="Export both towers in fp32 and fp16 with tokenizer, golden vectors and manifest. "
        "Without --checkpoint or --untrained OpenAI's published weights are downloaded.",
    )
    parser.add_argument("--model", default="ViT-B-32", help="open_clip's name of the model (%(default)s)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--pretrained", default="openai", help="published weights (%(default)s)")
    source.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="OpenAI's .pt, open_clip's .bin or .pt, or .safetensors"
    )
    source.add_argument("--untrained", type=int, metavar="SEED", help="seeded weights, for trying things out")
    parser.add_argument("--tag", metavar="NAME", help="what to call a checkpoint that is not OpenAI's own file")
    parser.add_argument(
        "--quick-gelu",
        action=argparse.BooleanOptionalAction,
        help="whether such a checkpoint was trained with QuickGELU",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="model folder (models/MODEL-TAG)")


def run(args: argparse.Namespace) -> int:
    """Export; 0 when every gate held. Raises ClipError otherwise."""
    from export.progress import Progress

    progress = Progress()
    with progress.step("loading PyTorch and open_clip"):
        from export import build, weights
    source = weights.Source(
        model=args.model,
        pretrained=args.pretrained,
        checkpoint=args.checkpoint,
        tag=args.tag,
        quick_gelu=args.quick_gelu,
        untrained=args.untrained,
    )
    resolved = weights.resolve(source, cache=args.cache, progress=progress)
    if resolved.untrained:
        progress.say(_UNTRAINED_WARNING, style="bold yellow")
    out = args.out or Path("models") / f"{resolved.model}-{resolved.pretrained}"
    made = build.build(resolved, out, progress)
    print(f"{out}: {made.model} {made.pretrained}, digest {made.model_digest}")
    if resolved.untrained:
        progress.say(_UNTRAINED_WARNING, style="bold yellow")
    return 0
