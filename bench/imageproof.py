"""What a replayed image is held to: self-test, one queue job and one HTTP request, on its own packages alone.

The packages that the image leaves out are only then out for good. The lane is the CPU's whatever the image is
for: the GPU lanes differ in the runtime alone, and tests/gpu holds that.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import httpx
from PIL import Image as Picture

from bench.errors import BenchError
from bench.imagereplay import Image
from bench.jobapi import JobApi, Status, WorkerProcess, start_worker
from heimdex_clip.signing import sign_v2

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_SECRET = uuid.uuid4().hex
_KEY = uuid.uuid4().hex
_TIMEOUT_S = 120


async def prove(image: Image, model_dir: Path, *, runtime_site: Path | None = None) -> None:
    """Run the image's packages and code on the fp32 graphs of `model_dir`.

    `runtime_site` adds the CPU's runtime behind the packages of an image that has no ONNX Runtime. Raises
    BenchError when something does not come out right.
    """
    path = [image.app, image.site, *([runtime_site] if runtime_site else [])]
    env = {
        "PYTHONPATH": ":".join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/nonexistent",
        "RUNPOD_SERVERLESS": "1",
        "WORKER_RUNTIME": "cpu",
        "CLIP_MODEL_DIR": str(model_dir),
        "ALLOW_UNTRAINED_MODEL": "1",
        "EMBEDDING_HMAC_SECRET": _SECRET,
        "EMBEDDING_API_KEYS": _KEY,
        "HOST": "127.0.0.1",
        "PORT": "0",
    }
    try:
        await _self_test(image, env)
        await _queue_job(image, env)
        await _http_request(image, env)
    except (TimeoutError, RuntimeError, httpx.HTTPError) as error:
        words = " ".join(str(error).split())[-500:]
        raise BenchError(f"the image {image.lane} does not work: {type(error).__name__} {words}") from None


async def _self_test(image: Image, env: Mapping[str, str]) -> None:
    async with start_worker(_argv(image, "selftest"), env, cwd=image.app) as worker:
        await asyncio.wait_for(worker.process.wait(), _TIMEOUT_S)
        if worker.process.returncode:
            raise _broken(image, "the self-test fails", worker)


async def _queue_job(image: Image, env: Mapping[str, str]) -> None:
    async with JobApi() as api:
        items: list[dict[str, str]] = [{"image_base64": _picture(name)} for name in FORMATS]
        payload = json.dumps({"aud": api.endpoint_id, "exp": int(time.time()) + 300, "items": [*items, {"text": "a"}]})
        job = api.queue.submit({"payload": payload, "auth": sign_v2(payload, secret=_SECRET)})
        async with start_worker(_argv(image), {**env, **api.environment()}, cwd=image.app) as worker:
            await asyncio.wait_for(job.finished.wait(), _TIMEOUT_S)
            answer = job.members.decode()
            if job.status is not Status.COMPLETED or answer.count('"embedding"') != len(items) + 1:
                raise _broken(image, f"a queue job is answered with {answer[:200]}", worker)


async def _http_request(image: Image, env: Mapping[str, str]) -> None:
    async with start_worker(_argv(image, "serve"), env, cwd=image.app) as worker:
        await worker.wait_for('"event": "ready"', timeout_s=_TIMEOUT_S)
        lines = (json.loads(line) for line in worker.output().splitlines() if line.startswith("{"))
        (port,) = next(line["ports"] for line in lines if line["event"] == "listening")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            headers = {"Authorization": f"Bearer {_KEY}"}
            answer = await http.post("/v1/embeddings", json={"input": "a cat"}, headers=headers, timeout=_TIMEOUT_S)
        if answer.status_code != httpx.codes.OK:
            raise _broken(image, f"an HTTP request is answered with {answer.status_code}", worker)


def _argv(image: Image, *command: str) -> list[str]:
    # -S: the interpreter's own site-packages must not lend what the image lacks.
    return [str(image.python), "-S", "-m", "worker", *command]


def _picture(name: str) -> str:
    file = io.BytesIO()
    Picture.new("RGB", (320, 240), (200, 30, 90)).save(file, name)
    return base64.b64encode(file.getvalue()).decode()


def _broken(image: Image, what: str, worker: WorkerProcess) -> BenchError:
    return BenchError(f"the image {image.lane}: {what}; its last words: {' '.join(worker.output().split())[-400:]}")
