"""PyTorch's side of the GPU measurement: open_clip's own image tower in fp16, and the GEMM peak."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.contenders import CACHE
from bench.errors import BenchError
from bench.gpu_rates import Run
from bench.gpu_report import COMPILED, EAGER
from export import reference
from export.progress import Progress
from heimdex_clip.encoder import manifest

_GEMM_SIDE, _GEMM_RUNS = 8192, 20


def contenders(model_dir: Path, checkpoint: Path | None) -> dict[str, Run]:
    """Eager and compiled fp16, each from host pixels to host vectors. Raises BenchError, or ClipError for weights."""
    if not torch.cuda.is_available():
        raise BenchError("PyTorch sees no GPU")
    model = reference.load(manifest.load(model_dir), checkpoint=checkpoint, cache=CACHE, progress=Progress())
    visual = model.weights.clip.visual.eval().half().cuda()
    mean = torch.tensor(model.weights.preprocessing.mean, device="cuda")[:, None, None]
    std = torch.tensor(model.weights.preprocessing.std, device="cuda")[:, None, None]

    def through(tower: Callable[[torch.Tensor], torch.Tensor]) -> Run:
        def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.inference_mode():
                planes = torch.from_numpy(pixels).pin_memory().cuda(non_blocking=True).permute(0, 3, 1, 2)
                vectors = tower(((planes.float() / 255 - mean) / std).half())
                return vectors.float().cpu().numpy()

        return run

    return {EAGER: through(visual), COMPILED: through(torch.compile(visual, dynamic=False))}


def gemm_tflops() -> float:
    """What large fp16 matrix products reach on this GPU."""
    left = torch.randn(_GEMM_SIDE, _GEMM_SIDE, device="cuda", dtype=torch.float16)
    right = torch.randn(_GEMM_SIDE, _GEMM_SIDE, device="cuda", dtype=torch.float16)
    best = float("inf")
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(_GEMM_RUNS):
            torch.matmul(left, right)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * _GEMM_SIDE**3 * _GEMM_RUNS / best / 1e12
