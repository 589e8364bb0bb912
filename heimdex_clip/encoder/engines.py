"""The manifest's `engines`: what each TensorRT engine was built from, by what, and for which device.

An engine is two plans, one a tower. It may run only where everything that is recorded holds; `fit` says what
does not. The plans themselves are files of the manifest like any other, with their sha256.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heimdex_clip.encoder.gates import Parity, parse_parity
from heimdex_clip.errors import LaneUnavailable

if TYPE_CHECKING:
    from heimdex_clip.encoder.manifest import Manifest

FLAVOURS = ("tensorrt", "tensorrt-rtx")
PRECISION = "fp16"
FIXED_SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Batch sizes of the GPU lanes: one memory plan each, instead of one for every size that comes along."""
OUTPUT = "embedding"
_TEXT_LENGTHS = (2, 16)  # shortest and typical; the longest is the model's context

Sizes = tuple[int, int, int]
Shapes = tuple[tuple[int, ...], ...]
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LABEL = re.compile(r"[ -~]{1,200}")


@dataclass(frozen=True, slots=True)
class Plan:
    """One tower's plan: its file, the sha256 of each file of the ONNX graph that it was built from, and its
    optimisation profiles as batch sizes (smallest, typical, largest). `parity` is None where it was not measured,
    for want of the device.
    """

    file: str
    onnx_sha256: Mapping[str, str]
    profiles: tuple[Sizes, ...]
    parity: Parity | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """Both towers' plans. `compute_capabilities` as in sm_NN; `tensorrt` is the builder's version, which the
    runtime's must equal; `measured_on` names the GPU of the plans' parity, empty where there was none.
    """

    flavour: str
    compute_capabilities: tuple[int, ...]
    tensorrt: str
    precision: str
    plans: Mapping[str, Plan]
    measured_on: str = ""


def name(flavour: str, compute_capabilities: tuple[int, ...]) -> str:
    """The engine's key in the manifest and its folder below engines/."""
    return "-".join([flavour, *(f"sm{capability}" for capability in compute_capabilities)])


def default_profiles(flavour: str) -> tuple[Sizes, ...]:
    """Batch sizes by profile, the one for any size last.

    TensorRT picks its kernels for a profile's typical size, so it gets one for each fixed size; RTX compiles for
    the true shape when it runs, and more profiles only make its plan larger (180 to 219 MB) and its build longer.
    """
    wide = (1, 8, FIXED_SIZES[-1])
    exact = () if flavour == "tensorrt-rtx" else tuple((size, size, size) for size in FIXED_SIZES)
    return (*exact, wide)


def input_shapes(model: Manifest, tower: str, sizes: Sizes) -> dict[str, Shapes]:
    """Smallest, typical and largest shape of each of a tower's inputs in a profile."""
    if tower == "image":
        side = model.identity.preprocessing.image_size
        return {"pixels": tuple((size, side, side, 3) for size in sizes)}
    lengths = (*_TEXT_LENGTHS, model.identity.tokenizer.context_length)
    return {
        "ids": tuple(zip(sizes, lengths, strict=True)),
        "eot": tuple((size,) for size in sizes),
    }


def fit(model: Manifest, flavour: str, compute_capability: int) -> Engine:
    """The manifest's engine for this device. Raises LaneUnavailable with what is missing or does not hold."""
    known = [engine for engine in model.engines.values() if engine.flavour == flavour]
    if not known:
        raise LaneUnavailable(f"the manifest has no {flavour} engine")
    found = next((engine for engine in known if compute_capability in engine.compute_capabilities), None)
    if found is None:
        targets = sorted({f"sm{capability}" for engine in known for capability in engine.compute_capabilities})
        raise LaneUnavailable(f"no {flavour} engine for this GPU's sm{compute_capability}, only {', '.join(targets)}")
    if found.precision != PRECISION:
        raise LaneUnavailable(f"the {flavour} engine is {found.precision}, not {PRECISION}")
    for tower in ("image", "text"):
        plan = found.plans.get(tower)
        if plan is None:
            raise LaneUnavailable(f"the {flavour} engine has no plan of the {tower} tower")
        if plan.onnx_sha256 != sources(model, tower):
            raise LaneUnavailable(f"{plan.file} was built from another graph than {model.graph(tower, PRECISION)}")
    return found


def sources(model: Manifest, tower: str) -> dict[str, str]:
    """The files of the graph that a tower's plan is built from, with their sha256. Raises ModelError."""
    return {file: model.entry(file).sha256 for file in model.graph_files(tower, PRECISION)}


def measured(model: Manifest, lane: str) -> bool:
    """Whether all that the manifest offers a lane was held to the export's gate; only engines may lack that."""
    return all(
        plan.parity is not None
        for engine in model.engines.values()
        if engine.flavour == lane
        for plan in engine.plans.values()
    )


def parse(raw: Mapping[str, Any]) -> dict[str, Engine]:
    """The section as manifest.json has it. Raises ValueError, KeyError, TypeError, AttributeError or OverflowError."""
    return {str(key): _engine(value) for key, value in raw.items()}


def _engine(raw: Mapping[str, Any]) -> Engine:
    if raw["flavour"] not in FLAVOURS:
        raise ValueError(f"{raw['flavour']!r} is no flavour of engines")
    return Engine(
        flavour=raw["flavour"],
        compute_capabilities=tuple(_capability(capability) for capability in raw["compute_capabilities"]),
        tensorrt=_label(raw["tensorrt"]),
        precision=_label(raw["precision"]),
        plans={_label(tower): _plan(plan) for tower, plan in raw["plans"].items()},
        measured_on=_label(raw["measured_on"]) if raw["measured_on"] else "",
    )


def _plan(raw: Mapping[str, Any]) -> Plan:
    onnx_sha256 = {str(file): str(sha256) for file, sha256 in raw["onnx_sha256"].items()}
    if not onnx_sha256 or not all(_SHA256.fullmatch(sha256) for sha256 in onnx_sha256.values()):
        raise ValueError("each of onnx_sha256 must have 64 hex digits")
    profiles = []
    for sizes in raw["profiles"]:
        low, typical, high = (int(size) for size in sizes)
        profiles.append((low, typical, high))
    parity = parse_parity(raw["parity"]) if raw["parity"] else None
    return Plan(_label(raw["file"]), onnx_sha256, tuple(profiles), parity)


def _capability(value: Any) -> int:
    if type(value) is not int or not 10 <= value < 1000:
        raise ValueError("a compute capability is not of the form sm_NN")
    return int(value)


def _label(value: Any) -> str:
    # They stand in messages, each of which is one line.
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise ValueError("a name in an engine is not 1 to 200 printable characters")
    return value
