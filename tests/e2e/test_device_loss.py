"""A device that is lost: what was taken is answered, and the process ends so that the platform replaces it."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from bench.jobapi import JobApi, WorkerProcess, start_worker
from heimdex_clip import AsyncClipClient
from tests.e2e.rig import READY, ROOT, SECRET, ImageServer, Rig, picture, worker_env

LOST = "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=secret-host"
FULL = "CUDA failure 2: out of memory ; GPU=0 ; hostname=secret-host"
FAILED = "Got invalid dimensions"


@asynccontextmanager
async def lossy(model_dir: Path, door: str, words: str, **env: str) -> AsyncIterator[WorkerProcess]:
    command = [sys.executable, "-m", "tests.e2e.lossy_worker", door, words]
    async with start_worker(command, env, cwd=ROOT) as worker:
        await worker.wait_for(READY, timeout_s=60)
        yield worker


@asynccontextmanager
async def queue(model_dir: Path, words: str) -> AsyncIterator[Rig]:
    async with ImageServer().running() as images, JobApi() as api:
        variables: Mapping[str, str] = {**api.environment(), **worker_env(model_dir, images.port)}
        headers = {"Authorization": f"Bearer {api.api_key}"}
        async with (
            lossy(model_dir, "handler", words, **variables) as worker,
            AsyncClipClient(api.endpoint_id, api.api_key, SECRET, base_url=api.base_url) as client,
            httpx.AsyncClient(base_url=api.endpoint_url, headers=headers) as http,
        ):
            yield Rig(api, worker, images, client, http)


@pytest.mark.parametrize("words", [LOST, FULL])
async def test_the_queues_worker_answers_and_ends(model_dir: Path, words: str) -> None:
    async with queue(model_dir, words) as rig:
        first = await rig.job(rig.v1(rig.images.url("/picture/1.jpg")))
        assert first["status"] == "COMPLETED"
        several = [rig.job(rig.v1(rig.images.url(f"/picture/{seed}.jpg"))) for seed in range(2, 5)]
        for failed in await asyncio.gather(*several):
            assert failed["status"] == "FAILED"
            assert failed["output"]["code"] in ("INFERENCE_FAILED", "OVERLOADED")
            assert failed["output"]["retryable"] is True
        assert await asyncio.wait_for(rig.worker.process.wait(), 30) == 1
        log = rig.worker.output()
        assert log.count('"event": "lane_lost"') == 1
        assert "secret-host" not in log
        assert "Traceback" not in log


async def test_a_failure_that_is_none_of_the_devices_ends_nothing(model_dir: Path) -> None:
    async with queue(model_dir, FAILED) as rig:
        await rig.job(rig.v1(rig.images.url("/picture/1.jpg")))
        for _ in range(2):
            failed = await rig.job(rig.v1(rig.images.url("/picture/2.jpg")))
            assert failed["output"]["code"] == "INFERENCE_FAILED"
        assert rig.worker.process.returncode is None
        rig.worker.process.terminate()
        assert await asyncio.wait_for(rig.worker.process.wait(), 20) == 0


async def test_the_http_worker_answers_and_ends(model_dir: Path) -> None:
    env = {**worker_env(model_dir, 80), "PORT": "0", "HOST": "127.0.0.1", "EMBEDDING_API_KEYS": "key"}
    async with lossy(model_dir, "serve", LOST, **env) as worker:
        (line,) = [line for line in worker.output().splitlines() if '"event": "listening"' in line]
        port = line.split('"ports": [')[1].split("]")[0]
        body = {"input": {"image": f"data:image/jpeg;base64,{base64.b64encode(picture(1)).decode()}"}}
        headers = {"Authorization": "Bearer key"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
            assert (await client.post("/v1/embeddings", json=body)).status_code == 200
            failed = await client.post("/v1/embeddings", json=body)
        assert failed.status_code >= 500
        assert "lost" in failed.text
        assert await asyncio.wait_for(worker.process.wait(), 30) == 1
        assert worker.output().count('"event": "lane_lost"') == 1
        assert "Traceback" not in worker.output()
