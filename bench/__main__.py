"""`python -m bench COMMAND`: a figure and its verdict last, non-zero when a target is missed."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from heimdex_clip.errors import ClipError

_DEFAULT_MODEL = Path("models/ViT-B-32-untrained-0")


def main(argv: list[str] | None = None) -> int:
    """Returns 0 when every target is reached, 1 when one is missed, 2 when nothing could be measured."""
    arguments = _parser().parse_args(argv)
    try:
        return asyncio.run(_measure(arguments))
    except ClipError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except asyncio.CancelledError:  # SIGTERM, where a measurement listens for it
        return 143


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="one photograph through everything, and a checklist of what came back")
    start = commands.add_parser("start", help="process start to first embedding, beside the PyTorch worker")
    start.add_argument("--pairs", type=_positive, default=5, help="interleaved pairs of starts (default 5)")
    worker = commands.add_parser("worker", help="throughput and latency under load, about 8 minutes")
    worker.add_argument("--quick", action="store_true", help="one short round, about 3 minutes, rough figures")
    everything = commands.add_parser("all", help="this project beside its peers, on the same model; about 20 minutes")
    everything.add_argument("--quick", action="store_true", help="one short round, rough figures; writes no document")
    commands.add_parser("document", help="write docs/performance.md and its plots from the samples")
    preprocess = commands.add_parser("preprocess", help="preprocessing beside Pillow alone, about 3 minutes")
    preprocess.add_argument("--quick", action="store_true", help="few pairs, under a minute, rough figures")
    gpu = commands.add_parser("gpu", help="every GPU lane beside PyTorch fp16; needs a GPU")
    image = commands.add_parser("image-budget", help="replay each image's build and hold its size to its budget")
    image.add_argument("--document", type=Path, help="docs/performance.md, to write the tables into")
    audit = commands.add_parser("image-audit", help="bill of materials, licences and known vulnerabilities")
    for command in (image, audit):
        command.add_argument(
            "--lane", action="append", choices=["cpu", "cuda", "tensorrt", "tensorrt-rtx"], help="default: all"
        )
        command.add_argument("--python", type=Path, help="the image's interpreter (default: this one)")
    for command in (start, worker, preprocess, everything, gpu, image):
        command.add_argument("--model-dir", type=Path, default=_DEFAULT_MODEL, help=f"default {_DEFAULT_MODEL}")
    for command in (start, worker, everything, gpu):
        command.add_argument(
            "--checkpoint",
            type=Path,
            help="the folder's source weights; made from the seed if untrained",
        )
    return parser


async def _measure(arguments: argparse.Namespace) -> int:
    if arguments.command == "demo":
        from bench import demo

        return await demo.run()
    if arguments.command in ("image-budget", "image-audit"):
        from bench import imageaudit, imagebudget

        lanes = arguments.lane or list(imagebudget.BUDGETS_GB)
        if arguments.command == "image-audit":
            return await imageaudit.run(lanes, python=arguments.python)
        return await imagebudget.run(
            lanes, arguments.model_dir.resolve(), python=arguments.python, document=arguments.document
        )
    if arguments.command == "document":
        from bench import document

        for path in document.write():
            print(f"wrote {path}")
        return 0
    # The workers run in the repository's root, wherever this was called.
    model_dir = arguments.model_dir.resolve()
    if arguments.command == "start":
        from bench import start

        return await start.run(model_dir, arguments.checkpoint, pairs=arguments.pairs)
    if arguments.command == "all":
        from bench import everything

        quick = arguments.quick
        return await everything.run(model_dir, arguments.checkpoint, quick=quick, write_document=not quick)
    if arguments.command == "preprocess":
        from bench import preprocess

        return await preprocess.run(model_dir, preprocess.QUICK if arguments.quick else preprocess.FULL)
    if arguments.command == "gpu":
        from bench import gpu

        return await gpu.run(model_dir, arguments.checkpoint)
    from bench import worker

    plan = worker.QUICK if arguments.quick else worker.FULL
    return await worker.run(model_dir, arguments.checkpoint, plan)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
