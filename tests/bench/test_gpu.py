"""The GPU measurement up to the GPU: all of it with the cpu lane in place, and its one line where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import gpu, gpu_rates
from bench.__main__ import main
from bench.errors import BenchError
from bench.gpu import Machine, Plan
from bench.gpu_attention import FORMS
from bench.gpu_rates import Run
from bench.gpu_report import COMPILED, EAGER, WITH_GRAPHS, Samples
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.runtimes import cuda_driver
from heimdex_clip.encoder.runtimes.base import Tower, TowerName
from heimdex_clip.encoder.runtimes.ort_cpu import OrtCpuLane, open_graph
from heimdex_clip.encoder.runtimes.ort_cuda import OrtCudaLane
from heimdex_clip.encoder.runtimes.tensorrt import TensorRtLane
from tests import tiny_model
from tests.heimdex_clip.encoder.runtimes.gpu_double import HostCuda

SHORT = Plan(batches=(1, 8, 64, 256), attention_batches=(1,), rounds=2, window_s=0, images=64, starts=1)


def in_place(*, peak_tflops: float = 1e-9) -> Machine:
    """The cpu lane as if it were a GPU's, in both ways; a lane without a GPU; PyTorch that is slow."""

    def torch() -> dict[str, Run]:
        slow = lambda pixels: np.zeros((len(pixels), int(5e5)), np.float32)  # noqa: E731
        return {EAGER: slow, COMPILED: slow}

    free = iter(range(10**9, 0, -(10**6)))
    return Machine(
        name="Host 9000 sm86",
        cuda="13.2",
        lanes={
            "cpu": OrtCpuLane(),
            f"cpu{WITH_GRAPHS}": OrtCpuLane(),
            "cuda": OrtCudaLane(driver=HostCuda(fail={"cuInit": 100}).driver),
        },
        torch=torch,
        gemm_tflops=lambda: peak_tflops,
        free_bytes=lambda: next(free),
        open_graph=None,
    )


async def test_the_whole_measurement_with_the_cpu_lane_in_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await gpu.measured(tiny_model.build(tmp_path / "tiny"), in_place(), SHORT, lane="cpu", keep=False)
    out = capsys.readouterr().out
    assert "cuda is left out: no GPU is visible to this process" in out
    assert f"| batch | {EAGER} | {COMPILED} | cpu | cpu{WITH_GRAPHS} |" in out
    assert [line.split(" | ")[0] for line in out.splitlines() if line[:3] in ("| b", *(f"| {n}" for n in "1862"))] == [
        "| batch", "| 1", "| 8", "| 64", "| 256",
    ]  # fmt: skip
    assert "cpu: process start to first embedding" in out
    assert "1 MB of GPU memory" in out
    assert "cpu: CUDA graphs / none, batch 1: " in out
    last = out.splitlines()[-1]
    assert "lowest cosine of an attention form nan (target >= 0.9999)" in last
    assert last.endswith("MISSED: " + last.rpartition("MISSED: ")[2])
    assert code == 1


def test_a_lane_whose_vectors_are_off_is_not_measured(tmp_path: Path) -> None:
    """Off in the second run of a size only, where a captured graph would run."""

    class Captured(OrtCpuLane):
        def open(self, folder: Path, manifest: Manifest, tower: TowerName) -> Tower:
            run, seen = super().open(folder, manifest, tower), set[int]()

            def off(*inputs: NDArray[np.generic]) -> NDArray[np.float32]:
                vectors, rows = run(*inputs), len(inputs[0])
                stale = rows in seen and rows > 1
                seen.add(rows)
                return vectors[::-1] if stale else vectors

            return off

    samples = Samples("Host 9000", "13.2")
    with pytest.raises(BenchError, match="graphs fails the gate at batch 2"):
        gpu._open(tiny_model.build(tmp_path / "tiny"), "graphs", Captured(), in_place(), samples)


def test_the_forms_of_attention_are_measured(model_dir: Path) -> None:
    machine = replace(in_place(), open_graph=open_graph, precision="fp32")
    samples = Samples("Host 9000", "13.2")
    gpu._attention(model_dir, machine, 224, replace(SHORT, rounds=1), samples)
    assert tuple(samples.attention_cosine) == tuple(samples.attention_rates[1]) == FORMS
    assert min(samples.attention_cosine.values()) > 0.9999


def test_every_gpu_lane_is_measured_both_ways() -> None:
    lanes = gpu.lanes_both_ways()
    assert list(lanes) == [
        "tensorrt", "tensorrt-rtx", "cuda",
        f"tensorrt{WITH_GRAPHS}", f"tensorrt-rtx{WITH_GRAPHS}", f"cuda{WITH_GRAPHS}",
    ]  # fmt: skip
    for name, lane in lanes.items():
        assert isinstance(lane, TensorRtLane | OrtCudaLane)
        assert lane.cuda_graphs is name.endswith(WITH_GRAPHS)


def test_contenders_are_warmed_up_and_interleaved() -> None:
    order: list[str] = []

    def contender(name: str) -> Run:
        def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            order.append(name)
            return np.zeros((len(pixels), 1), np.float32)

        return run

    found = gpu_rates.rates({"a": contender("a"), "b": contender("b")}, 8, batches=(2,), rounds=3, window_s=0)
    assert order == ["a", "a", "b", "b", *["a", "b"] * 3]
    assert all(rate > 0 for rounds in found[2].values() for rate in rounds)


def test_without_a_gpu_it_says_so_in_one_line(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not isinstance(cuda_driver.probe(), str):
        pytest.skip("a GPU is here")
    assert main(["gpu", "--model-dir", str(model_dir)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: nothing was measured, for want of a GPU: ")
