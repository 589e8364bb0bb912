"""The workers that are measured against each other: how each is started, and the jobs they are sent."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.jobapi import Job, Status
from heimdex_clip.encoder.gates import measure
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.signing import sign_v1

ROOT = Path(__file__).parent.parent
SECRET = "bench-" + uuid.uuid4().hex
"""Signs this run's jobs; it never leaves the machine."""
CACHE = ROOT / "build" / "bench"
# As an image's build leaves it: compiled once, not at every start. Here that is the uncounted first start.
_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(CACHE / "pycache")}
MIN_COSINE = 0.9999
"""Both workers must give nearly the same vector for a photograph, or they are not doing the same work."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A worker to measure: its name in the report, its command and its own variables."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]


def ours(model_dir: Path, *, image_port: int) -> Contender:
    """The worker, on its CPU lane."""
    return Contender("worker", (sys.executable, "-m", "worker"), worker_env(model_dir, image_port=image_port))


def worker_env(model_dir: Path, *, image_port: int) -> dict[str, str]:
    """The worker's variables for a model folder and photographs on a loopback port."""
    return {
        **_BYTECODE,
        "RUNPOD_SERVERLESS": "1",
        "EMBEDDING_HMAC_SECRET": SECRET,
        "CLIP_MODEL_DIR": str(model_dir),
        "WORKER_RUNTIME": "cpu",
        "ALLOW_UNTRAINED_MODEL": "1",
        "ALLOWED_PRIVATE_CIDRS": "127.0.0.0/8",
        "ALLOWED_IMAGE_PORTS": str(image_port),
    }


def pytorch(manifest: Manifest, *, checkpoint: Path) -> Contender:
    """The PyTorch reference worker, on the weights that the model folder was exported from."""
    env = {
        **_BYTECODE,
        "EMBEDDING_HMAC_SECRET": SECRET,
        "BENCH_MODEL": manifest.model,
        "BENCH_CHECKPOINT": str(checkpoint),
        "BENCH_QUICK_GELU": "1" if manifest.identity.quick_gelu else "0",
    }
    return Contender("pytorch", (sys.executable, "-m", "bench.pytorch_worker"), env)


def job_input(url: str) -> dict[str, Any]:
    """A v1 request for one image, signed now."""
    return {"image_url": url, "request_id": "bench", "auth": sign_v1(url, secret=SECRET)}


def embedding(job: Job) -> list[float]:
    """The vector that a finished job was answered with. Raises BenchError when it was not."""
    reply = json.loads(b"{" + job.members + b"}")
    if job.status is not Status.COMPLETED:
        raise BenchError(f"a job ended {job.status}: {str(reply.get('error'))[:200]}")
    vector: list[float] = reply["output"]["embedding"]
    return vector


def check_same_vector(first: list[float], second: list[float]) -> None:
    """Raises BenchError when two workers' vectors for one photograph are not equal within `MIN_COSINE`."""
    parity = measure(np.array([first], np.float32), np.array([second], np.float32))
    if not parity.min_cosine >= MIN_COSINE:
        raise BenchError(f"the workers disagree on the same photograph: {parity}")
