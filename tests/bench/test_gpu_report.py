"""The GPU measurement's figures and tables, from samples."""

from __future__ import annotations

import math

import pytest

from bench import gpu_report
from bench.gpu_report import EAGER, WITH_GRAPHS, Samples
from bench.ratios import verdict

CAPTURED = f"cuda{WITH_GRAPHS}"
SIZES = (1, 8, 64, 256)


def samples() -> Samples:
    """A GPU on which the cuda lane is twice as fast as PyTorch, four times at batch 1, and graphs bring a quarter."""
    found = Samples("Host 9000", "13.2", gemm_tflops=100.0, decode_per_s=4000.0)
    found.rates = {
        size: {EAGER: [1000.0, 2000.0], "cuda": [2000.0, 4000.0], CAPTURED: [2500.0, 5000.0]} for size in SIZES
    }
    found.rates[1]["cuda"] = [4000.0, 8000.0]
    found.rates[256]["cuda"] = [6000.0, 6000.0]
    found.opening_s = {"cuda": 0.5, CAPTURED: 0.6}
    found.start_s = {"cuda": [1.9, 3.0, 1.8]}
    found.memory_bytes = {"cuda": 10**9, CAPTURED: 1_050_000_000}
    found.lanes = {"cuda": {"device": "Host 9000"}, CAPTURED: {"cuda_graphs_image": "7 captured"}}
    found.end_to_end_per_s = {"cuda": 2700.0, CAPTURED: 3900.0}
    found.rtx_cache_s = {"empty": [5.0, 6.0, 7.0], "warm": [2.0, 2.5, 2.0]}
    found.attention_cosine = {"plain": 0.99999, "fused": 0.99995}
    found.attention_rates = {1: {"plain": [100.0], "fused": [200.0]}}
    return found


def test_the_figures_are_the_targets() -> None:
    assert dict(gpu_report.figures(samples())) == {
        gpu_report.FASTER_AT_64: 2.0,
        gpu_report.FASTER_AT_1: 4.0,
        gpu_report.OF_PEAK: pytest.approx(6000 * 8.82e9 / 100e12),
        gpu_report.START: 1.9,
        gpu_report.END_TO_END: pytest.approx(0.9),
        gpu_report.EXACT: 0.99995,
    }
    assert verdict(gpu_report.figures(samples())).passed


def test_the_targets_are_what_was_asked_for() -> None:
    shown = {target.name: str(target) for target, _ in gpu_report.figures(samples())}
    assert shown == {
        "cuda / torch eager, batch 64": ">= 1.3",
        "cuda / torch eager, batch 1": ">= 3",
        "cuda of the GEMM peak, batch 256": ">= 0.45",
        "cuda: process start to first embedding, s": "<= 2.5",
        "cuda: end to end of its slowest stage": ">= 0.9",
        "lowest cosine of an attention form": ">= 0.9999",
    }


def test_a_lane_that_did_not_run_reaches_no_target() -> None:
    found = samples()
    found.opening_s, found.start_s, found.attention_cosine = {}, {}, {}
    for target, figure in gpu_report.figures(found):
        assert math.isnan(figure)
        assert not target.holds(figure)


def test_the_table_says_each_thing_once() -> None:
    lines = list(gpu_report.table(samples()))
    assert lines[0] == f"| batch | {EAGER} | cuda | {CAPTURED} |"
    assert "| 64 | 1500/s, 42.67 ms | 3000/s, 21.33 ms | 3750/s, 17.07 ms |" in lines
    assert "cuda: process start to first embedding 1.90 s (1.80 to 3.00) through the SDK's loop" in lines
    assert any("2700 images/s (slowest stage: encoding)" in line for line in lines)
    assert any(line.startswith("cuda: CUDA graphs / none, batch 1: 0.62") for line in lines)
    assert any("batch 8: 1.25 (from 1.25 to 1.25 over 2 pairs)" in line for line in lines)
    assert any(line.endswith("+50 MB; 7 captured") for line in lines)
    assert any(line.endswith("saved 3.50 s (3.00 to 5.00)") for line in lines)
    assert "| 1 | 100/s, 10.00 ms | 200/s, 5.00 ms |" in lines
    assert lines[-1] == "fused: cosine >= 0.9999500"


def test_decoding_is_named_where_it_is_the_slowest() -> None:
    found = samples()
    found.decode_per_s = 100.0
    assert gpu_report.slowest(found, "cuda") == ("decoding", 100.0)


def test_what_was_not_measured_is_not_in_the_table() -> None:
    found = samples()
    found.rtx_cache_s, found.attention_rates, found.start_s = {}, {}, {}
    del found.opening_s[CAPTURED]
    text = "\n".join(gpu_report.table(found))
    assert not any(words in text for words in ("ENGINE_CACHE_DIR", "plain", "start to first", "CUDA graphs / none"))
