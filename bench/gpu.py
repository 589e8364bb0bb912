"""``python -m bench gpu``: every lane of this GPU beside PyTorch fp16, and what the GPU could do at most.

Each lane runs twice, launching kernel by kernel and with CUDA graphs; the attention of the cuda lane in three forms.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import gpu_attention, gpu_rates, gpu_start, report
from bench.errors import BenchError
from bench.gpu_rates import Run
from bench.gpu_report import WITH_GRAPHS, Samples, figures, table
from bench.ratios import verdict
from heimdex_clip.encoder import golden, manifest, runtimes
from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.encoder.engines import FIXED_SIZES
from heimdex_clip.encoder.gates import EXPORT_FP16, measure
from heimdex_clip.encoder.runtimes import cuda_driver
from heimdex_clip.encoder.runtimes.base import Lane, Tower
from heimdex_clip.encoder.runtimes.cuda_driver import Device, Driver
from heimdex_clip.encoder.runtimes.ort_cuda import OrtCudaLane
from heimdex_clip.errors import LaneUnavailable


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: batch sizes, rounds and the seconds of each, JPEGs end to end, starts a lane."""

    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    attention_batches: tuple[int, ...] = (1, 8, 64)
    rounds: int = 5
    window_s: float = 0.3
    images: int = 2048
    starts: int = 3


@dataclass(frozen=True, slots=True)
class Machine:
    """What is measured: the lanes, in both ways each, and PyTorch beside them. `open_graph` opens a form of the image
    tower in `precision`, None to leave the forms out; `free_bytes` tells the device's memory.
    """

    name: str
    cuda: str
    lanes: Mapping[str, Lane]
    torch: Callable[[], dict[str, Run]]
    gemm_tflops: Callable[[], float]
    free_bytes: Callable[[], int]
    open_graph: Callable[[Path], Tower] | None
    precision: str = OrtCudaLane.precision


async def run(model_dir: Path, checkpoint: Path | None) -> int:
    """Measure and print; 0 when every target is reached. Raises BenchError where no GPU is."""
    device = cuda_driver.probe()
    if isinstance(device, str):
        raise BenchError(f"nothing was measured, for want of a GPU: {device}")
    return await measured(model_dir, _this_machine(model_dir, checkpoint, device), Plan())


def _this_machine(model_dir: Path, checkpoint: Path | None, device: Device) -> Machine:
    from bench import gpu_torch

    driver = Driver.load()
    model = manifest.load(model_dir)
    cuda = OrtCudaLane()

    def free_bytes() -> int:
        driver.attach()
        return driver.memory_bytes()[0]

    return Machine(
        name=f"{device.name} sm{device.compute_capability}",
        cuda=device.cuda,
        lanes=lanes_both_ways(),
        torch=lambda: gpu_torch.contenders(model_dir, checkpoint),
        gemm_tflops=gpu_torch.gemm_tflops,
        free_bytes=free_bytes,
        open_graph=None if cuda.unavailable(model) else lambda path: cuda.open_graph(path, model, "image"),
    )


def lanes_both_ways() -> dict[str, Lane]:
    """The GPU's lanes by the name in the report, each plainly and with CUDA graphs."""
    plain = {lane.name: lane for lane in runtimes.lanes() if lane.name != "cpu"}
    captured = {f"{lane.name}{WITH_GRAPHS}": lane for lane in runtimes.lanes(cuda_graphs=True) if lane.name != "cpu"}
    return plain | captured


async def measured(model_dir: Path, machine: Machine, plan: Plan, *, lane: str = "cuda", keep: bool = True) -> int:
    """Measure a machine and print; the exit code of the verdict on `lane`. `keep` writes the samples to their file."""
    print(f"{report.machine_line()}; GPU: {machine.name}, CUDA {machine.cuda}", flush=True)
    samples = Samples(machine.name, machine.cuda)
    model = manifest.load(model_dir)
    for name, found_lane in machine.lanes.items():
        if reason := found_lane.unavailable(model):
            _leave_out(samples, name, reason)
    # Before this process takes memory of the device; WORKER_RUNTIME names no lane with graphs.
    able = tuple(name for name in machine.lanes if name not in samples.passed_over and not name.endswith(WITH_GRAPHS))
    samples.start_s, samples.rtx_cache_s = await gpu_start.measure(model_dir, able, rounds=plan.starts)
    # All of it in one thread: ONNX Runtime keeps its graphs by thread.
    await asyncio.to_thread(_measure, model_dir, machine, plan, samples)
    for line in table(samples):
        print(line)
    found = verdict(figures(samples, lane))
    if keep:
        kept = report.save(
            "gpu",
            settings={"rounds": plan.rounds, "window_s": plan.window_s, "starts": plan.starts},
            samples=vars(samples),
            verdict=found,
        )
        print(f"samples: {kept}")
    print(found.line)
    return found.exit_code


def _measure(model_dir: Path, machine: Machine, plan: Plan, samples: Samples) -> None:
    side = manifest.load(model_dir).identity.preprocessing.image_size
    if machine.open_graph is not None:
        _attention(model_dir, machine, side, plan, samples)
    contenders = machine.torch()
    encoders = {name: _open(model_dir, name, lane, machine, samples) for name, lane in machine.lanes.items()}
    able = {name: encoder for name, encoder in encoders.items() if encoder is not None}
    own: dict[str, Run] = {name: encoder.encode_pixels for name, encoder in able.items()}
    samples.rates = gpu_rates.rates(
        contenders | own, side, batches=plan.batches, rounds=plan.rounds, window_s=plan.window_s
    )
    samples.gemm_tflops = machine.gemm_tflops()
    samples.decode_per_s, samples.end_to_end_per_s = gpu_rates.end_to_end(own, side, images=plan.images)
    samples.lanes = {name: encoder.lane.describe() for name, encoder in able.items()}


def _open(model_dir: Path, name: str, lane: Lane, machine: Machine, samples: Samples) -> Encoder | None:
    """A lane opened; what that cost goes into `samples`. None where it cannot run."""
    if name in samples.passed_over:
        return None
    before, started = machine.free_bytes(), time.perf_counter()
    try:
        encoder = open_encoder(model_dir, runtime=lane.name, lanes=[lane])
    except LaneUnavailable as error:
        _leave_out(samples, name, str(error))
        return None
    samples.opening_s[name] = time.perf_counter() - started
    _hold_to_the_gate(model_dir, name, encoder)
    samples.memory_bytes[name] = before - machine.free_bytes()
    return encoder


def _hold_to_the_gate(model_dir: Path, name: str, encoder: Encoder) -> None:
    """Every fixed size twice, so that a captured graph is launched too. Raises BenchError when a vector is off."""
    stored = golden.load(model_dir)
    for size in FIXED_SIZES:
        rows = np.arange(size) % len(stored.pixels)
        for _ in range(2):
            parity = measure(encoder.encode_pixels(stored.pixels[rows]), stored.image_embeddings[rows])
            if not EXPORT_FP16.holds(parity):
                raise BenchError(f"{name} fails the gate at batch {size}: {parity}; needed {EXPORT_FP16.min_cosine}")


def _attention(model_dir: Path, machine: Machine, side: int, plan: Plan, samples: Samples) -> None:
    """Each form of attention on the graph that the cuda lane serves: its cosine against PyTorch, and its rates."""
    model, stored = manifest.load(model_dir), golden.load(model_dir)
    assert machine.open_graph is not None
    with tempfile.TemporaryDirectory(prefix="attention-") as folder:
        forms = gpu_attention.derive(model_dir / model.graph("image", machine.precision), Path(folder))
        towers: dict[str, Tower] = {}
        for form, path in forms.items():
            try:
                towers[form] = machine.open_graph(path)
            except LaneUnavailable as error:
                _leave_out(samples, form, str(error))
        for form, tower in towers.items():
            samples.attention_cosine[form] = measure(tower(stored.pixels), stored.image_embeddings).min_cosine
        samples.attention_rates = gpu_rates.rates(
            _as_runs(towers), side, batches=plan.attention_batches, rounds=plan.rounds, window_s=plan.window_s
        )


def _leave_out(samples: Samples, name: str, reason: str) -> None:
    samples.passed_over[name] = reason
    print(f"{name} is left out: {reason}", flush=True)


def _as_runs(towers: Mapping[str, Tower]) -> dict[str, Run]:
    def through(tower: Tower) -> Run:
        return lambda pixels: tower(pixels)

    return {form: through(tower) for form, tower in towers.items()}
