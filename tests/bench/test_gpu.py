"""The GPU measurement up to the GPU: its figures from samples, and its one line where there is none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import gpu
from bench.__main__ import main
from bench.gpu import EAGER, Samples
from heimdex_clip.encoder.runtimes import cuda_driver


def samples() -> Samples:
    """A GPU on which the cuda lane is twice as fast as PyTorch, and four times at batch 1."""
    found = Samples("Host 9000", "13.2", gemm_tflops=100.0, decode_per_s=4000.0)
    found.rates = {size: {EAGER: [1000.0, 2000.0], "cuda": [2000.0, 4000.0]} for size in gpu.BATCHES}
    found.rates[1]["cuda"] = [4000.0, 8000.0]
    found.rates[256]["cuda"] = [6000.0, 6000.0]
    found.opening_s, found.start_s, found.memory_bytes = {"cuda": 0.5}, {"cuda": 1.9}, {"cuda": 10**9}
    found.end_to_end_per_s = {"cuda": 2700.0}
    return found


def test_the_figures_are_the_targets() -> None:
    by_target = dict(gpu.figures(samples()))
    assert by_target == {
        gpu.FASTER_AT_64: 2.0,
        gpu.FASTER_AT_1: 4.0,
        gpu.OF_PEAK: pytest.approx(6000 * 8.82e9 / 100e12),
        gpu.START: 1.9,
        gpu.END_TO_END: pytest.approx(0.9),
    }


def test_a_lane_that_did_not_run_reaches_no_target() -> None:
    found = samples()
    found.opening_s = {}
    for target, figure in gpu.figures(found):
        assert math.isnan(figure)
        assert not target.holds(figure)


def test_the_table_names_the_slowest_stage() -> None:
    lines = list(gpu.table(samples()))
    assert lines[0] == f"| batch | {EAGER} | cuda |"
    assert "| 64 | 1500/s, 42.67 ms | 3000/s, 21.33 ms |" in lines
    assert "slowest stage: encoding" in lines[-1]


def test_contenders_are_warmed_up_and_interleaved() -> None:
    order: list[str] = []

    def contender(name: str) -> gpu.Run:
        def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            order.append(name)
            return np.zeros((len(pixels), 1), np.float32)

        return run

    found = gpu.rates({"a": contender("a"), "b": contender("b")}, 8, batches=(2,), window_s=0)
    assert order == ["a", "b"] * (1 + gpu.ROUNDS)
    assert all(rate > 0 for rounds in found[2].values() for rate in rounds)


def test_without_a_gpu_it_says_so_in_one_line(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not isinstance(cuda_driver.probe(), str):
        pytest.skip("a GPU is here")
    assert main(["gpu", "--model-dir", str(model_dir)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: nothing was measured, for want of a GPU: ")
