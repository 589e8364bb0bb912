"""From the GPU's samples to its tables, its figures and their targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from bench.ratios import Target, paired

EAGER, COMPILED = "torch eager fp16", "torch.compile fp16"
WITH_GRAPHS = ", CUDA graphs"
"""Follows a lane's name where it captures its fixed sizes."""
GFLOP_PER_IMAGE = 8.82
END_TO_END_BATCH = 64
FASTER_AT_64 = Target("cuda / torch eager, batch 64", at_least=1.3)
FASTER_AT_1 = Target("cuda / torch eager, batch 1", at_least=3.0)
OF_PEAK = Target("cuda of the GEMM peak, batch 256", at_least=0.45)
START = Target("cuda: process start to first embedding, s", at_most=2.5)
END_TO_END = Target("cuda: end to end of its slowest stage", at_least=0.9)
EXACT = Target("lowest cosine of an attention form", at_least=0.9999)
_GRAPHS_AT = (1, 8, 64)

Rates = dict[int, dict[str, list[float]]]
"""Images a second: by batch size, by contender, one figure a round."""


@dataclass
class Samples:
    """Everything measured. Memory in bytes, times in seconds, one figure a round in lists."""

    device: str
    driver_cuda: str
    passed_over: dict[str, str] = field(default_factory=dict)
    rates: Rates = field(default_factory=dict)
    gemm_tflops: float = 0.0
    opening_s: dict[str, float] = field(default_factory=dict)
    lanes: dict[str, dict[str, str]] = field(default_factory=dict)
    start_s: dict[str, list[float]] = field(default_factory=dict)
    rtx_cache_s: dict[str, list[float]] = field(default_factory=dict)
    memory_bytes: dict[str, int] = field(default_factory=dict)
    decode_per_s: float = 0.0
    end_to_end_per_s: dict[str, float] = field(default_factory=dict)
    attention_cosine: dict[str, float] = field(default_factory=dict)
    attention_rates: Rates = field(default_factory=dict)


def slowest(samples: Samples, lane: str) -> tuple[str, float]:
    """The stage that bounds a lane's end to end, and its ceiling in images a second."""
    encoding = float(np.median(samples.rates[END_TO_END_BATCH][lane]))
    if samples.decode_per_s < encoding:
        return "decoding", samples.decode_per_s
    return "encoding", encoding


def figures(samples: Samples, lane: str = "cuda") -> list[tuple[Target, float]]:
    """Each target with what was measured of `lane`; NaN, which reaches none, where it did not run."""
    nan, rates = float("nan"), samples.rates
    found = dict.fromkeys((FASTER_AT_64, FASTER_AT_1, OF_PEAK, START, END_TO_END, EXACT), nan)
    if lane in samples.opening_s:
        found[FASTER_AT_64] = paired(rates[64][lane], rates[64][EAGER]).median
        found[FASTER_AT_1] = paired(rates[1][lane], rates[1][EAGER]).median
        found[OF_PEAK] = float(np.median(rates[256][lane])) * GFLOP_PER_IMAGE / 1000 / samples.gemm_tflops
        found[END_TO_END] = samples.end_to_end_per_s[lane] / slowest(samples, lane)[1]
    if samples.start_s.get(lane):
        found[START] = float(np.median(samples.start_s[lane]))
    if samples.attention_cosine:
        found[EXACT] = float(np.min(list(samples.attention_cosine.values())))
    return list(found.items())


def table(samples: Samples) -> Iterator[str]:
    """The figures as Markdown, a line at a time."""
    yield from _rates_table(samples.rates)
    yield f"GEMM peak, fp16: {samples.gemm_tflops:.0f} TFLOP/s; decoding alone: {samples.decode_per_s:.0f} images/s"
    for name, seconds in samples.opening_s.items():
        yield (
            f"{name}: opened in {seconds:.2f} s,"
            f" {samples.memory_bytes[name] / 1e6:.0f} MB of GPU memory,"
            f" end to end {samples.end_to_end_per_s[name]:.0f} images/s (slowest stage: {slowest(samples, name)[0]})"
        )
    for name, starts in samples.start_s.items():
        yield f"{name}: process start to first embedding {_spread(starts)} through the SDK's loop"
    yield from _graphs(samples)
    yield from _cache(samples.rtx_cache_s)
    if samples.attention_rates:
        yield ""
        yield from _rates_table(samples.attention_rates)
        yield from (f"{form}: cosine >= {cosine:.7f}" for form, cosine in samples.attention_cosine.items())


def _rates_table(rates: Mapping[int, Mapping[str, list[float]]]) -> Iterator[str]:
    names = list(next(iter(rates.values())))
    yield f"| batch | {' | '.join(names)} |"
    yield f"| ---: |{' ---: |' * len(names)}"
    for size, found in rates.items():
        cells = (f"{(rate := float(np.median(found[name]))):.0f}/s, {size / rate * 1000:.2f} ms" for name in names)
        yield f"| {size} | {' | '.join(cells)} |"


def _graphs(samples: Samples) -> Iterator[str]:
    """What CUDA graphs bring each lane, by the interleaved pairs."""
    for name in samples.opening_s:
        plain = name.removesuffix(WITH_GRAPHS)
        if plain == name or plain not in samples.opening_s:
            continue
        pairs = ((size, samples.rates[size]) for size in _GRAPHS_AT)
        gains = "; ".join(f"batch {size}: {paired(found[name], found[plain])}" for size, found in pairs)
        more = (samples.memory_bytes[name] - samples.memory_bytes[plain]) / 1e6
        said = ", ".join(text for key, text in samples.lanes[name].items() if key.startswith("cuda_graphs"))
        yield f"{plain}: CUDA graphs / none, {gains}; {more:+.0f} MB; {said or 'nothing captured'}"


def _cache(seconds: Mapping[str, list[float]]) -> Iterator[str]:
    if seconds:
        saved = [empty - warm for empty, warm in zip(seconds["empty"], seconds["warm"], strict=True)]
        yield (
            f"tensorrt-rtx: first embedding with an empty ENGINE_CACHE_DIR {_spread(seconds['empty'])}, with a warm one"
            f" {_spread(seconds['warm'])}; saved {_spread(saved)}"
        )


def _spread(seconds: list[float]) -> str:
    return f"{np.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
