"""``python -m export engine``: TensorRT engines for a model folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from export.engine_build import Target

_RTX_TARGETS = (86, 89, 120)


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "engine",
        help="build TensorRT engines",
        description="Build both towers' plans from the fp16 graphs and record them in the manifest, held to PyTorch's "
        "golden vectors where the device is there. tensorrt builds for this machine's GPU; tensorrt-rtx needs none.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="model folder")
    parser.add_argument("--flavour", choices=("tensorrt", "tensorrt-rtx"), required=True)
    parser.add_argument(
        "--sm",
        type=_capabilities,
        metavar="NN,NN",
        help=f"compute capabilities that tensorrt-rtx builds for ({','.join(map(str, _RTX_TARGETS))})",
    )


def run(args: argparse.Namespace) -> int:
    """Build; 0 when everything that could be checked holds. Raises ClipError otherwise."""
    from export import engine
    from export.progress import Progress
    from heimdex_clip.encoder import engines
    from heimdex_clip.encoder.runtimes import cuda_driver, trt_api
    from heimdex_clip.encoder.runtimes.tensorrt import TensorRtLane

    progress = Progress()
    found = cuda_driver.probe()
    target = _target(args, found)
    trt = trt_api.builder(target.flavour)
    device = None
    if not isinstance(found, str) and found.compute_capability in target.capabilities:
        device = engine.Device(found.name, TensorRtLane(target.flavour))
    made = engine.make(args.folder, trt, target, device, progress)
    name = engines.name(made.flavour, made.compute_capabilities)
    for tower, plan in made.plans.items():
        parity = plan.parity or f"not measured ({found if isinstance(found, str) else 'another GPU is here'})"
        print(f"{args.folder}: engine {name}, {tower} tower, TensorRT {made.tensorrt}, parity: {parity}")
    return 0


def _target(args: argparse.Namespace, found: object) -> Target:
    """Raises SettingsError and LaneUnavailable."""
    from export.engine_build import Target
    from heimdex_clip.encoder.runtimes.cuda_driver import Device
    from heimdex_clip.errors import LaneUnavailable, SettingsError

    if args.flavour == "tensorrt-rtx":
        return Target(args.flavour, args.sm or _RTX_TARGETS)
    if args.sm:
        raise SettingsError("--sm: tensorrt builds for the GPU that is there; only tensorrt-rtx can choose")
    if not isinstance(found, Device):
        raise LaneUnavailable(f"tensorrt builds for the GPU that is there: {found}")
    capability = found.compute_capability
    return Target(args.flavour, (capability,), args.cache / f"tensorrt-timings-sm{capability}.cache")


def _capabilities(text: str) -> tuple[int, ...]:
    """86,89 -> (86, 89), ascending."""
    try:
        found = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as 86,89") from None
    return found
