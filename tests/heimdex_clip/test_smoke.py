"""The smoke test, as a new user runs it: against the real worker, and against everything that can be wrong."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from bench.jobapi import JobApi
from heimdex_clip import __main__, _smoke_image
from heimdex_clip._smoke_hints import hint
from heimdex_clip.contract import error_reply
from heimdex_clip.errors import WIRE_ERRORS, AuthFailed, ClipError, DeadlineExceeded, EndpointUnavailable
from heimdex_clip.results import Health
from tests.e2e import rig
from tests.heimdex_clip.endpoint import API_KEY, SECRET, embed, serving
from tests.heimdex_clip.storage_server import BUCKET, KEY, StorageServer

STEPS = [
    "configuration",
    "test image",
    "uploaded",
    "endpoint called",
    "request_id",
    "model",
    "pretrained",
    "model_digest",
    "lane",
    "normalized",
    "dimensions",
    "numeric",
    "L2 norm",
    "timing",
    "served",
    "object removed",
    "verdict",
]


class Smoke:
    """Runs the command and reads its lines."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def __call__(self, environ: Mapping[str, str], *argv: str) -> tuple[int, list[str]]:
        code = await asyncio.to_thread(__main__.main, ["smoke", *argv], environ)
        out, err = self._capsys.readouterr()
        assert err == ""
        for secret in (SECRET, API_KEY, KEY, rig.SECRET, "token="):
            assert secret not in out
        return code, out.splitlines()


@pytest.fixture
def smoke(capsys: pytest.CaptureFixture[str]) -> Smoke:
    return Smoke(capsys)


def environment(api: JobApi, storage: StorageServer | None = None, **changed: str) -> dict[str, str]:
    stored = {"SUPABASE_URL": storage.url, "SUPABASE_SERVICE_ROLE_KEY": KEY} if storage is not None else {}
    return {
        "RUNPOD_API_KEY": api.api_key,
        "RUNPOD_CLIP_ENDPOINT_ID": api.endpoint_id,
        "RUNPOD_ENDPOINT_BASE_URL": api.base_url,
        "EMBEDDING_HMAC_SECRET": SECRET,
        "RUNPOD_TIMEOUT_S": "20",
        **stored,
        **changed,
    }


def odd(job_input: Any) -> object:
    """A worker of four dimensions, whose information is of another model."""
    if json.loads(job_input["payload"]).get("op") != "info":
        return embed(job_input)
    model = {"model": "ViT-B-32", "pretrained": "openai", "untrained": False, "model_digest": "f" * 16}
    return {**model, "dim": 4, "lane": "cpu", "limits": {}}


def crossed(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("✗") and "verdict" not in line]


async def test_the_whole_way_works_with_the_real_worker(smoke: Smoke, model_dir: Path) -> None:
    async with (
        StorageServer().running() as storage,
        rig.running(model_dir, ALLOWED_IMAGE_PORTS=f"80,{storage.port}") as worker,
    ):
        code, lines = await smoke(environment(worker.api, storage, EMBEDDING_HMAC_SECRET=rig.SECRET))
        sent, _ = await smoke(environment(worker.api, EMBEDDING_HMAC_SECRET=rig.SECRET), "--inline")
        wrong, refused = await smoke(environment(worker.api, storage, EMBEDDING_HMAC_SECRET="another"))
    assert (code, crossed(lines)) == (0, [])
    assert [line[2:22].strip() for line in lines] == STEPS
    assert lines[STEPS.index("dimensions")] == "✓ dimensions           512"
    assert "untrained: its vectors carry no meaning" in lines[STEPS.index("served")]
    assert (storage.objects, storage.calls[:3]) == ({}, ["put", "sign", "remove"])
    assert sent == 0
    assert wrong == 1
    (line,) = crossed(refused)
    assert "AUTH_FAILED" in line
    assert "secret mismatch" in line
    assert refused[-2].startswith("✓ object removed")
    assert refused[-1] == "✗ verdict              failed: endpoint called"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"RUNPOD_API_KEY": ""}, "RUNPOD_API_KEY is not set"),
        ({"SUPABASE_URL": ""}, "SUPABASE_URL is not set; name an image with --image-url"),
        ({"SUPABASE_SERVICE_ROLE_KEY": ""}, "SUPABASE_SERVICE_ROLE_KEY is not set"),
        ({"CLIP_INFERENCE_BACKEND": "off"}, "is off"),
    ],
)
async def test_a_configuration_that_cannot_work_is_two_crosses(
    smoke: Smoke, changed: dict[str, str], named: str
) -> None:
    async with JobApi() as api:
        code, lines = await smoke(environment(api, StorageServer(port=1), **changed))
    assert (code, len(lines)) == (1, 2)
    assert named in lines[0]
    assert lines[1] == "✗ verdict              failed: configuration"


@pytest.mark.parametrize(
    ("refused", "key", "bucket", "named"),
    [
        ({"put"}, KEY, BUCKET, "the storage answered 500"),
        ({"sign"}, KEY, BUCKET, "the storage answered 500"),
        (set(), "another", BUCKET, "Invalid Compact JWS"),
        (set(), "näver", BUCKET, "SUPABASE_SERVICE_ROLE_KEY must be printable ASCII"),
        (set(), KEY, "none", "Bucket not found"),
    ],
)
async def test_a_storage_that_refuses_is_a_cross_and_nothing_stays(
    smoke: Smoke, refused: set[str], key: str, bucket: str, named: str
) -> None:
    async with StorageServer(refuse=refused).running() as storage, JobApi(api_key=API_KEY) as api:
        settings = environment(api, storage, SUPABASE_SERVICE_ROLE_KEY=key)
        code, lines = await smoke(settings, "--bucket", bucket)
        assert not api.calls
    (line,) = crossed(lines)
    assert code == 1
    assert named in line
    assert "-> check" in line
    assert storage.objects == {}


async def test_an_object_that_stays_is_a_cross(smoke: Smoke) -> None:
    async with StorageServer(refuse={"remove"}).running() as storage, serving(odd) as api:
        code, lines = await smoke(environment(api, storage))
    assert code == 1
    assert any(line.startswith("✗ object removed") and "by hand" in line for line in lines)


async def test_each_wrong_field_is_a_cross_of_its_own(smoke: Smoke) -> None:
    async with serving(odd) as api:
        code, lines = await smoke(environment(api), "--image-url", "https://images.example/x.png")
    assert code == 1
    assert [line[2:22].strip() for line in crossed(lines)] == ["dimensions", "L2 norm", "served"]
    assert all("-> check" in line for line in crossed(lines))


async def test_an_unreachable_storage_is_told_in_one_line(smoke: Smoke) -> None:
    async with StorageServer().running() as storage:
        pass
    async with JobApi(api_key=API_KEY) as api:
        code, lines = await smoke(environment(api, storage))
    assert code == 1
    assert "the storage cannot be reached (ConnectError)" in crossed(lines)[0]


@asynccontextmanager
async def platform(**workers: int) -> AsyncIterator[str]:
    """A platform on which every job stays in the queue."""

    async def queued(_: web.Request) -> web.Response:
        return web.json_response({"id": "job-1", "status": "IN_QUEUE"})

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"jobs": {"inQueue": 1}, "workers": workers})

    app = web.Application()
    app.router.add_post("/e/runsync", queued)
    app.router.add_get("/e/status/job-1", queued)
    app.router.add_post("/e/cancel/job-1", queued)
    app.router.add_get("/e/health", health)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("workers", "named"),
    [
        ({"idle": 0, "initializing": 1}, "cold start still under way"),
        ({"idle": 0, "initializing": 0, "unhealthy": 1}, "container exited"),
        ({"throttled": 2}, "no GPU of the endpoint's pools is free"),
        ({"idle": 0}, "max workers may be 0"),
    ],
)
async def test_a_job_that_nobody_takes_says_why(smoke: Smoke, workers: dict[str, int], named: str) -> None:
    async with platform(**workers) as url:
        settings = {
            "RUNPOD_API_KEY": API_KEY,
            "RUNPOD_CLIP_ENDPOINT_ID": "e",
            "RUNPOD_ENDPOINT_BASE_URL": url,
            "EMBEDDING_HMAC_SECRET": SECRET,
            "RUNPOD_TIMEOUT_S": "0.3",
        }
        code, lines = await smoke(settings, "--inline")
    (line,) = crossed(lines)
    assert code == 1
    assert "DEADLINE_EXCEEDED" in line
    assert named in line


async def test_as_a_process_it_prints_its_lines_and_no_others() -> None:
    environ = {
        **os.environ,
        "RUNPOD_API_KEY": API_KEY,
        "RUNPOD_CLIP_ENDPOINT_ID": "e",
        "RUNPOD_ENDPOINT_BASE_URL": "http://127.0.0.1:1",
        "EMBEDDING_HMAC_SECRET": SECRET,
        "RUNPOD_TIMEOUT_S": "0.3",
    }
    argv = [sys.executable, "-m", "heimdex_clip", "smoke", "--inline"]
    process = await asyncio.create_subprocess_exec(*argv, env=environ, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    assert (process.returncode, err, len(out.splitlines())) == (1, b"", 4)
    assert SECRET.encode() not in out


def test_every_failure_has_something_to_check() -> None:
    for kind in WIRE_ERRORS.values():
        assert hint(kind("no"), None)
    other = EndpointUnavailable("no", retryable=False)
    assert "RUNPOD_CLIP_ENDPOINT_ID" in hint(other, None)
    assert "network" in hint(EndpointUnavailable("no"), None)
    ready = Health("runpod", ready=True, detail={"workers": {"idle": 1}})
    assert "did not answer in time" in hint(DeadlineExceeded("no"), ready)
    assert "worker's log" in hint(ClipError("no"), None)


async def test_a_wrong_secret_is_told_by_the_played_worker_too(smoke: Smoke) -> None:
    def answer(_: Any) -> object:
        return error_reply(AuthFailed(), None)

    async with serving(answer) as api:
        code, lines = await smoke(environment(api), "--inline")
    assert code == 1
    assert "secret mismatch" in crossed(lines)[0]


def test_the_test_image_is_a_picture_for_everybody() -> None:
    data = _smoke_image.png()
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (320, 240))
        assert image.getpixel((160, 120)) == (30, 40, 60)
    assert data == _smoke_image.png()
