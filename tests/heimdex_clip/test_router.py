"""What a client does around its backends: log lines, the fallback, the canary; and that no secret shows."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
import traceback
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from bench.jobapi import JobApi, Status
from heimdex_clip import AsyncClipClient
from heimdex_clip.contract import error_reply
from heimdex_clip.errors import AuthFailed, ClipError, DeadlineExceeded, EndpointUnavailable, ImageInvalid
from tests import tiny_model
from tests.e2e.rig import picture
from tests.heimdex_clip.endpoint import API_KEY, SECRET, embed, serving

URL = "https://images.example/cat.jpg?token=abc"


def client(api: JobApi, **environment: str) -> AsyncClipClient:
    made = AsyncClipClient.from_env(
        {
            "RUNPOD_API_KEY": API_KEY,
            "RUNPOD_CLIP_ENDPOINT_ID": api.endpoint_id,
            "RUNPOD_ENDPOINT_BASE_URL": api.base_url,
            "EMBEDDING_HMAC_SECRET": SECRET,
            "RUNPOD_TIMEOUT_S": "20",
            **environment,
        }
    )
    assert isinstance(made, AsyncClipClient)
    return made


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "heimdex_clip"]


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "heimdex_clip")


# ---- log lines


async def test_says_what_it_does_and_how_long_it_took(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(embed) as api, client(api) as clip:
        await clip.embed_image(URL, request_id="scene-1")
    first, second = lines(caplog)
    assert first == "Generating CLIP embedding (backend=runpod) request_id=scene-1"
    assert re.fullmatch(r"CLIP embedding generated via RunPod in \d+\.\d{3}s request_id=scene-1", second)
    record: Any = caplog.records[-1]
    assert (record.request_id, record.backend) == ("scene-1", "runpod")
    assert record.elapsed_s > 0
    assert "token=abc" not in caplog.text


async def test_a_failure_is_logged_by_its_code_and_an_id_cannot_break_the_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(lambda _input: error_reply(ImageInvalid("no"), None)) as api, client(api) as clip:
        with pytest.raises(ImageInvalid):
            await clip.embed_image(URL, request_id="a\nERROR forged")
    assert re.fullmatch(
        r"CLIP embedding failed via RunPod in .*s: IMAGE_INVALID request_id=a\\nERROR forged", lines(caplog)[1]
    )


# ---- expired results


async def test_a_result_that_the_platform_no_longer_keeps_is_asked_for_again() -> None:
    jobs = 0

    async def answer(job_input: Any) -> object:
        nonlocal jobs
        jobs += 1
        if jobs == 1:
            (job,) = [job for job in api.queue._jobs.values() if job.status is Status.IN_PROGRESS]
            api.queue.forget(job)
            return None
        return embed(job_input)

    async with serving(answer, max_wait_s=0) as api, client(api) as clip:
        assert (await clip.embed_image(URL)).dim == 4
        assert api.calls["runsync"] == 2


# ---- the fallback


async def test_a_fallback_answers_while_runpod_is_down_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_model.build(tmp_path / "model")
    async with (
        JobApi(api_key=API_KEY) as api,
        client(api, RUNPOD_TIMEOUT_S="0.4", CLIP_FALLBACK_BACKEND="local", CLIP_MODEL_DIR=str(folder)) as clip,
    ):
        api.fail_next("runsync", 503, times=1000)
        embedding = await clip.embed_image(bytes=picture(1), request_id="r")
        (one,) = await clip.embed_images([picture(1)])
    assert (embedding.backend, embedding.is_fallback, embedding.request_id) == ("local", True, "r")
    assert not isinstance(one, ClipError)
    assert one.is_fallback
    said = lines(caplog)
    assert re.fullmatch(r"CLIP backend runpod is down \([A-Z_]+\); falling back to local request_id=r", said[2])
    assert re.match(r"CLIP embedding generated via local in", said[4])


async def test_a_fallback_is_not_for_faults_that_somebody_must_mend(tmp_path: Path) -> None:
    folder = tiny_model.build(tmp_path / "model")
    settings = {"CLIP_FALLBACK_BACKEND": "local", "CLIP_MODEL_DIR": str(folder)}
    async with serving(lambda _input: error_reply(AuthFailed(), None)) as api, client(api, **settings) as clip:
        with pytest.raises(AuthFailed):
            await clip.embed_image(bytes=picture(1))


async def test_without_a_fallback_the_failure_is_the_answer() -> None:
    async with JobApi(api_key=API_KEY) as api, client(api, RUNPOD_TIMEOUT_S="0.4") as clip:
        api.fail_next("runsync", 503, times=1000)
        with pytest.raises((EndpointUnavailable, DeadlineExceeded)):
            await clip.embed_image(URL)


async def test_the_fallbacks_vectors_are_held_to_the_digest_too(tmp_path: Path) -> None:
    folder = tiny_model.build(tmp_path / "model")
    settings = {"CLIP_FALLBACK_BACKEND": "local", "CLIP_MODEL_DIR": str(folder), "EXPECTED_MODEL_DIGEST": "0" * 16}
    async with JobApi(api_key=API_KEY) as api, client(api, RUNPOD_TIMEOUT_S="0.4", **settings) as clip:
        api.fail_next("runsync", 503, times=1000)
        with pytest.raises(ClipError, match="backend local"):
            await clip.embed_image(bytes=picture(1))


# ---- the canary


async def _until(caplog: pytest.LogCaptureFixture, text: str) -> str:
    async with asyncio.timeout(30):
        while not (found := [line for line in lines(caplog) if text in line]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # a log line of another thread is what is waited for
    return found[0]


async def _canary_threads_end() -> None:
    async with asyncio.timeout(30):
        while any(thread.name == "clip-canary" for thread in threading.enumerate()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_canary_is_compared_beside_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    def other(job_input: Any) -> object:
        reply: Any = embed(job_input, audience="canary")
        return reply

    # One platform, two endpoints: the stand-in has one endpoint each, so the canary's is reached over its own.
    async with serving(embed) as api, serving(other, endpoint_id="canary") as second:
        settings = {"CLIP_CANARY_ENDPOINT_ID": "canary", "CLIP_CANARY_PERCENT": "100"}
        async with both(api, second) as base_url, client(api, RUNPOD_ENDPOINT_BASE_URL=base_url, **settings) as clip:
            assert (await clip.embed_image(URL)).backend == "runpod"
            line = await _until(caplog, "CLIP canary so far")
            assert second.calls["runsync"] == 1
    assert line.startswith("CLIP canary so far: 1 compared, 0 failed, 0 dropped; cosine min 1.000000")


async def test_a_canary_that_hangs_or_fails_touches_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(embed) as api, serving(lambda _input: None, endpoint_id="canary") as second:
        settings = {"CLIP_CANARY_ENDPOINT_ID": "canary", "CLIP_CANARY_PERCENT": "100", "RUNPOD_TIMEOUT_S": "2"}
        async with both(api, second) as base_url:
            clip = client(api, RUNPOD_ENDPOINT_BASE_URL=base_url, **settings)
            answers = await asyncio.gather(*(clip.embed_image(URL) for _ in range(60)))
            assert len(answers) == 60
            line = await _until(caplog, "last failure")
            await clip.aclose()
            await _canary_threads_end()
    assert re.search(r"0 compared, [12] failed, \d+ dropped; last failure DEADLINE_EXCEEDED", line)
    assert re.search(r" [1-9]\d+ dropped", line)


# ---- randomness


async def test_a_services_own_random_sequence_is_left_alone() -> None:
    state = random.getstate()
    settings = {"CLIP_CANARY_ENDPOINT_ID": "canary", "CLIP_CANARY_PERCENT": "0.001"}
    async with serving(embed) as api, client(api, **settings) as clip:
        api.fail_next("runsync", 503)
        await clip.embed_image(URL)
        assert api.calls["runsync"] == 2
    assert random.getstate() == state


# ---- secrets


async def test_no_secret_in_anything_that_is_said(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    folder = tiny_model.build(tmp_path / "model")
    settings = {"CLIP_FALLBACK_BACKEND": "local", "CLIP_MODEL_DIR": str(folder)}
    shown: list[str] = []
    async with serving(lambda _input: error_reply(AuthFailed(), None)) as api:
        for changed in ({}, settings, {"CLIP_INFERENCE_BACKEND": "http", "CLIP_HTTP_URL": api.base_url}):
            async with client(api, RUNPOD_TIMEOUT_S="1", **changed) as clip:
                shown += [repr(clip), repr(clip._router), repr(clip._router.primary)]
                with pytest.raises(ClipError) as raised:
                    await clip.embed_image(URL)
                shown += traceback.format_exception(raised.value)
    text = "\n".join([*shown, caplog.text, *(str(record.__dict__) for record in caplog.records)])
    assert "AUTH_FAILED" in text
    assert SECRET not in text
    assert API_KEY not in text


def both(*apis: JobApi) -> Any:
    """One base URL for several stand-ins, each under its endpoint's id."""
    urls = {api.endpoint_id: api.base_url for api in apis}

    @asynccontextmanager
    async def running() -> Any:
        async with httpx.AsyncClient(timeout=60) as http:

            async def pass_on(request: web.Request) -> web.Response:
                endpoint, rest = request.match_info["endpoint"], request.match_info["rest"]
                url = f"{urls[endpoint]}/{endpoint}/{rest}"
                kept = {"Authorization": request.headers["Authorization"], "Content-Type": "application/json"}
                try:
                    answer = await http.request(
                        request.method, url, params=dict(request.query), headers=kept, content=await request.read()
                    )
                except httpx.HTTPError:
                    return web.Response(status=502)
                return web.Response(status=answer.status_code, body=answer.content, content_type="application/json")

            app = web.Application()
            app.router.add_route("*", "/v2/{endpoint}/{rest:.*}", pass_on)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            try:
                yield f"http://127.0.0.1:{runner.addresses[0][1]}/v2"
            finally:
                await runner.cleanup()

    return running()
