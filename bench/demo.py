"""`python -m bench demo`: one photograph through everything, and a checklist of what came back.

A real worker (the SDK's own loop) on a loopback job API, a real photograph on a loopback web server, a
request signed and sent by the client, and PyTorch's own vector of the same photograph to compare with.
"""

from __future__ import annotations

import importlib.resources
import math
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from aiohttp import web
from rich.console import Console

from bench.jobapi import JobApi, WorkerProcess, start_worker
from export.__main__ import cache_folder
from export.progress import Progress
from heimdex_clip import AsyncClipClient
from heimdex_clip.contract import Embedding
from heimdex_clip.encoder import manifest
from heimdex_clip.encoder.gates import EXPORT_FP32, measure
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.errors import ModelError

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "models"
MODEL = "ViT-B-32"
SEED = 0
PHOTO = "datasets/images/china.jpg"
_READY_TIMEOUT_S = 60.0
_STAGES = ("download_ms", "decode_ms", "inference_ms", "total_ms")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the checklist."""

    name: str
    value: str
    holds: bool


async def run() -> int:
    """Print the checklist; 0 only if every line of it holds. Raises ClipError when it cannot get there."""
    console, progress, cache = Console(highlight=False), Progress(), cache_folder(os.environ)
    folder = _model_folder(cache, progress)
    model = manifest.load(folder)
    photo = (importlib.resources.files("sklearn") / PHOTO).read_bytes()
    secret = uuid.uuid4().hex
    async with _serving(photo) as url, JobApi() as api:
        env = {
            **api.environment(),
            "RUNPOD_SERVERLESS": "1",
            "EMBEDDING_HMAC_SECRET": secret,
            "CLIP_MODEL_DIR": str(folder),
            "WORKER_RUNTIME": "cpu",
            "ALLOWED_PRIVATE_CIDRS": "127.0.0.0/8",
            "ALLOWED_IMAGE_PORTS": url.split(":")[2].split("/")[0],
            "ALLOW_UNTRAINED_MODEL": str(int(model.untrained)),
        }
        started = time.perf_counter()
        async with start_worker([sys.executable, "-m", "worker"], env, cwd=ROOT) as worker:
            with progress.step("starting the worker"):
                await worker.wait_for('"event": "ready"', timeout_s=_READY_TIMEOUT_S)
            ready_s = time.perf_counter() - started
            client = AsyncClipClient(api.endpoint_id, api.api_key, secret, base_url=api.base_url)
            async with client:
                embedding = await client.embed_image(url, request_id="demo-1")
            _show_job(console, worker)
    lines = [*checklist(embedding, model), Line("start to ready", f"{ready_s:.2f} s", True)]
    lines.append(_against_pytorch(progress, embedding, model, photo, cache))
    return _verdict(console, lines, model)


def checklist(embedding: Embedding, model: Manifest) -> list[Line]:
    """What must hold of a reply, whatever the picture."""
    vector = embedding.vector
    norm = math.sqrt(sum(x * x for x in vector))
    dim = model.identity.embedding_dim
    lines = [
        Line("request_id", str(embedding.request_id), embedding.request_id == "demo-1"),
        Line("dimensions", f"{len(vector)}", len(vector) == embedding.dim == dim == 512),
        Line("numeric", "all finite", all(math.isfinite(x) for x in vector)),
        Line("L2 norm", f"{norm:.4f}", embedding.normalized and f"{norm:.4f}" == "1.0000"),
    ]
    lines += [_timing(embedding.timings, stage) for stage in _STAGES]
    return [
        *lines,
        Line("model", embedding.model, embedding.model == model.model),
        Line("pretrained", embedding.pretrained, embedding.pretrained == model.pretrained),
        Line("lane", embedding.lane, embedding.lane == "cpu"),
        Line("model digest", embedding.model_digest, embedding.model_digest == model.model_digest),
    ]


def _timing(timings: Mapping[str, float], stage: str) -> Line:
    value = timings.get(stage)
    return Line(stage.removesuffix("_ms"), "missing" if value is None else f"{value:.1f} ms", bool(value))


def _model_folder(cache: Path, progress: Progress) -> Path:
    """OpenAI's weights where they can be had, else seeded ones under their own name, and it says so."""
    if (MODELS / f"{MODEL}-openai" / manifest.FILE_NAME).exists():
        return MODELS / f"{MODEL}-openai"
    with progress.step("loading PyTorch and open_clip"):
        from export import build, weights
    untrained = MODELS / f"{MODEL}-untrained-{SEED}"
    try:
        source = weights.resolve(weights.Source(MODEL), cache=cache, progress=progress)
        out = MODELS / f"{MODEL}-openai"
    except ModelError as error:
        progress.say(f"OpenAI's weights cannot be had here: {str(error).partition(';')[0]}")
        progress.say(
            f"WARNING: going on with untrained weights ({untrained.name}): the vectors carry no meaning.",
            style="bold yellow",
        )
        if (untrained / manifest.FILE_NAME).exists():
            return untrained
        source = weights.resolve(weights.Source(MODEL, untrained=SEED), cache=cache, progress=progress)
        out = untrained
    build.build(source, out, progress)
    return out


def _against_pytorch(progress: Progress, embedding: Embedding, model: Manifest, photo: bytes, cache: Path) -> Line:
    from export import reference

    with progress.step("the same photograph by PyTorch"):
        loaded = reference.load(model, checkpoint=None, cache=cache, progress=progress)
        expected = loaded.image_vectors([photo])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    parity = measure(np.array([embedding.vector], np.float32), expected)
    return Line("cosine against PyTorch", f"{parity.min_cosine:.8f}", EXPORT_FP32.holds(parity))


def _show_job(console: Console, worker: WorkerProcess) -> None:
    line = next((line for line in worker.output().splitlines() if '"event": "job"' in line), "")
    console.print(f"the worker logged: {line}", markup=False, soft_wrap=True)


def _verdict(console: Console, lines: list[Line], model: Manifest) -> int:
    for line in lines:
        mark = "[green]✓[/]" if line.holds else "[red]✗[/]"
        console.print(f"  {mark} {line.name:<24}{line.value}")
    failed = [line.name for line in lines if not line.holds]
    if model.untrained:
        console.print("[bold yellow]These weights are untrained: the vectors carry no meaning.[/]")
    console.print("[red]failed: " + ", ".join(failed) + "[/]" if failed else "[bold green]everything holds[/]")
    return 1 if failed else 0


@asynccontextmanager
async def _serving(photo: bytes) -> AsyncIterator[str]:
    """One photograph on a free loopback port; yields its URL."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=photo, content_type="image/jpeg")

    app = web.Application()
    app.router.add_get("/photo.jpg", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/photo.jpg"
    finally:
        await runner.cleanup()
