"""One fp16 graph -> one serialised TensorRT plan. The same calls serve TensorRT and TensorRT-RTX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.progress import Progress
from heimdex_clip.encoder.engines import OUTPUT, Shapes
from heimdex_clip.encoder.runtimes import trt_api
from heimdex_clip.errors import ModelError, SettingsError

_TYPES = {"pixels": "UINT8", "ids": "INT64", "eot": "INT64", OUTPUT: "FLOAT"}


@dataclass(frozen=True, slots=True)
class Target:
    """What to build for. `capabilities` (sm_NN) are set for RTX; TensorRT builds for the GPU that is there.

    `timing_cache` keeps TensorRT's kernel timings between builds, None to keep none.
    """

    flavour: str
    capabilities: tuple[int, ...]
    timing_cache: Path | None = None


def known_capabilities(trt: Any) -> tuple[int, ...]:
    """The compute capabilities that RTX can build for by name, ascending."""
    names = (name for name in dir(trt.ComputeCapability) if name.startswith("SM"))
    return tuple(sorted(int(name.removeprefix("SM")) for name in names))


def build(
    trt: Any, graph: Path, profiles: tuple[Mapping[str, Shapes], ...], target: Target, progress: Progress
) -> bytes:
    """The plan of `graph` with one optimisation profile for each of `profiles`, by input name.

    The network is strongly typed: precision is the graph's own, and nothing is quietly computed in another.
    Raises ModelError with TensorRT's reason, SettingsError for a capability that it does not know.
    """
    log = trt_api.logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_creation_flags(trt))
    parser = trt.OnnxParser(network, log)
    # From the path, since weights lie beside the graph.
    if not parser.parse_from_file(str(graph)):
        told = parser.get_error(0).desc() if parser.num_errors else trt_api.reason(log)
        raise ModelError(f"TensorRT cannot read {graph}: {told}")
    _check(network, graph, set(profiles[0]))
    config = builder.create_builder_config()
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, (low, typical, high) in shapes.items():
            profile.set_shape(name, low, typical, high)
        config.add_optimization_profile(profile)
    _configure(trt, config, target)
    config.progress_monitor = monitor = _monitor(trt, progress)
    timings = _load_timings(config, target)
    plan = builder.build_serialized_network(network, config)
    del monitor  # TensorRT holds no reference of its own: it had to live until here
    if plan is None:
        raise ModelError(f"TensorRT cannot build {graph}: {trt_api.reason(log)}")
    if timings is not None and target.timing_cache is not None:
        target.timing_cache.write_bytes(timings.serialize())
    return bytes(plan)


def _creation_flags(trt: Any) -> int:
    # TensorRT 11 knows no other kind of network, and may drop the flag.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _check(network: Any, graph: Path, inputs: set[str]) -> None:
    """Names and types as the lanes will send and read them."""
    ends = [network.get_input(index) for index in range(network.num_inputs)]
    ends += [network.get_output(index) for index in range(network.num_outputs)]
    found = {end.name: end.dtype.name for end in ends}
    wanted = {name: _TYPES[name] for name in (*inputs, OUTPUT)}
    if found != wanted:
        raise ModelError(f"{graph} has the inputs and outputs {found}, not {wanted}")


def _configure(trt: Any, config: Any, target: Target) -> None:
    if target.flavour == "tensorrt-rtx":
        known = known_capabilities(trt)
        config.num_compute_capabilities = len(target.capabilities)
        for index, capability in enumerate(target.capabilities):
            if capability not in known:
                raise SettingsError(f"--sm {capability}: TensorRT-RTX builds for {', '.join(map(str, known))}")
            config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability}"), index)
        return
    # For the lean runtime, which is not put into every plan again.
    config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
    # A plan from a 3090 then serves an A5000. AMPERE_PLUS would serve later ones too, at 40 % of the speed.
    config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY


def _load_timings(config: Any, target: Target) -> Any:
    if target.timing_cache is None:
        return None
    target.timing_cache.parent.mkdir(parents=True, exist_ok=True)
    kept = target.timing_cache.read_bytes() if target.timing_cache.is_file() else b""
    timings = config.create_timing_cache(kept)
    config.set_timing_cache(timings, False)
    return timings


def _monitor(trt: Any, progress: Progress) -> Any:
    """Says TensorRT's outermost phases, which can take minutes each."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                progress.say(f"  {phase_name} ({num_steps} steps)")

        def phase_finish(self, phase_name: str) -> None:
            """Nothing."""

        def step_complete(self, phase_name: str, step: int) -> bool:
            return True

    return Monitor()
