"""``python -m bench.peers.lanes GRAPH PIXELS.npy WORKPLACE ROUNDS``: other ways to run the image tower on a CPU.

Prints one JSON object: for each lane the vectors' cosines against ONNX Runtime fp32 (the lane that ships), and for
each round and batch size the images a second, interleaved. Lanes: ``ort-fp32``, ``ort-int8`` (dynamic quantisation of
the matrix products), ``openvino-fp32``. A lane that fails is answered with its reason.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.peers.protocol import why

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
BATCHES = (1, 8, 32)
_LEAST_S = 1.0


def main(graph: Path, pixels: NDArray[np.uint8], workplace: Path, rounds: int) -> dict[str, Any]:
    """See the module."""
    lanes: dict[str, Run] = {}
    failures: dict[str, str] = {}
    opened: dict[str, Callable[[], Run]] = {
        "ort-fp32": lambda: _ort(graph),
        "ort-int8": lambda: _ort(_quantised(graph, workplace / "image.int8.onnx")),
        "openvino-fp32": lambda: _openvino(graph),
    }
    for name, make in opened.items():
        try:
            lanes[name] = make()
        # Whatever a runtime raises is a result of this bench.
        except Exception as error:  # noqa: BLE001
            failures[name] = why(error)
    expected = _all(lanes["ort-fp32"], pixels)
    cosines = {name: _cosines(_all(run, pixels), expected).tolist() for name, run in lanes.items()}
    rates = [
        {"turn": turn, "lane": name, "batch": batch, "per_s": _rate(lanes[name], pixels[:batch])}
        for turn in range(rounds)
        for batch in BATCHES
        for name in (list(lanes) if turn % 2 == 0 else list(reversed(lanes)))
    ]
    return {"cosines": cosines, "rates": rates, "failures": failures}


def _ort(path: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the lane that ships
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = session.run(None, {name: pixels})[0]
        return vectors

    return run


def _quantised(graph: Path, out: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(graph), str(out), weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul", "Gemm"]
    )
    return out


def _openvino(graph: Path) -> Run:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(str(graph)), "CPU", settings)
    request = compiled.create_infer_request()

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = request.infer([pixels])[compiled.output(0)]
        return vectors.copy()

    return run


def _all(run: Run, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([run(pixels[first : first + 8]) for first in range(0, len(pixels), 8)])


def _cosines(vectors: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = vectors.astype(np.float64), expected.astype(np.float64)
    products: NDArray[np.float64] = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return products


def _rate(run: Run, pixels: NDArray[np.uint8]) -> float:
    run(pixels)
    done, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < _LEAST_S:
        run(pixels)
        done += len(pixels)
    return done / seconds


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), np.load(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    print(json.dumps(found))
