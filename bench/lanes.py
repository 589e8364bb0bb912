"""Whether another CPU lane would pay: int8 and OpenVINO beside ONNX Runtime fp32, on the worker's own graph."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench import environments, pictures, report
from bench.environments import ROOT
from bench.errors import BenchError
from bench.ratios import Ratio, Verdict, paired
from heimdex_clip.encoder import manifest
from heimdex_clip.encoder.gates import EXPORT_FP32
from heimdex_clip.encoder.preprocess import preprocess

BASE = "ort-fp32"
MIN_COSINE = EXPORT_FP32.min_cosine
CLEARLY = 1.15
"""A second lane has to be kept, tested and documented: it must gain that much at each batch size to be worth it."""
ROUNDS = 5
QUICK_ROUNDS = 1
_COUNT = 64
_MAX_PIXELS = 50_000_000
_TIMEOUT_S = 400


async def run(model_dir: Path, rounds: int, *, quick: bool) -> dict[str, Any]:
    """Measure and save; the samples. Raises BenchError when nothing can be measured."""
    python = await environments.make("lanes")
    model = manifest.load(model_dir)
    size = model.identity.preprocessing.image_size
    pixels = [preprocess(data, size=size, max_pixels=_MAX_PIXELS) for _, data in pictures.images()[-_COUNT:]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.npy"
        np.save(path, np.stack(pixels))
        graph = model_dir / model.graph("image", "fp32")
        process = await asyncio.create_subprocess_exec(
            str(python),
            "-m",
            "bench.peers.lanes",
            *(str(graph), str(path), folder, str(rounds)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, errors = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
        except TimeoutError:
            raise BenchError(f"the CPU lanes took more than {_TIMEOUT_S} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise BenchError(f"the CPU lanes failed: {last}")
    samples: dict[str, Any] = json.loads(said.splitlines()[-1])
    for name, reason in samples["failures"].items():
        print(f"  the lane {name} cannot run: {reason}")
    for name, values in samples["cosines"].items():
        shown = ", ".join(f"batch {batch}: {ratio}" for batch, ratio in gains(samples, name).items())
        print(f"  {name}: lowest cosine {min(values):.9f}; images/s over {BASE}: {shown}", flush=True)
    settings = {"versions": "requirements/peers/lanes.txt", "rounds": rounds, "pictures": _COUNT}
    name = report.target("lanes", quick=quick)
    report.save(name, settings=settings, samples=samples, verdict=Verdict(conclusion(samples), passed=True))
    return samples


def gains(samples: dict[str, Any], lane: str) -> dict[int, Ratio]:
    """By batch size, the lane's images a second over those of the lane that ships, round by round."""
    rates: dict[tuple[str, int], list[float]] = {}
    for row in samples["rates"]:
        rates.setdefault((row["lane"], row["batch"]), []).append(row["per_s"])
    batches = sorted({batch for name, batch in rates if name == lane})
    return {batch: paired(rates[lane, batch], rates[BASE, batch]) for batch in batches}


def conclusion(samples: dict[str, Any]) -> str:
    """One sentence a lane: whether it is near enough, and whether it gains enough."""
    sentences = []
    for lane, values in samples["cosines"].items():
        if lane == BASE:
            continue
        least = min(ratio.median for ratio in gains(samples, lane).values())
        near, quick = min(values) >= MIN_COSINE, least >= CLEARLY
        sentences.append(
            f"{lane} {'holds' if near else 'misses'} the gate of {MIN_COSINE} (lowest cosine {min(values):.7f}) and"
            f" {'gains' if quick else 'does not gain'} {CLEARLY} at every batch size (least {least:.2f})"
            f"{': worth a lane' if near and quick else ''}"
        )
    return "; ".join([*sentences, *(f"{lane} cannot run: {why}" for lane, why in samples["failures"].items())])
