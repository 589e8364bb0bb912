"""Secrets stay inside: real workers with a distinctive value in every secret's place, and every output searched."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.jobapi import JobApi, start_worker
from heimdex_clip import AsyncClipClient, ClipClient
from heimdex_clip._settings import ClientSettings
from heimdex_clip.errors import ClipError, SettingsError
from heimdex_clip.signing import parse_keys, sign_v1, sign_v2
from tests import tiny_model
from tests.e2e.rig import ImageServer, worker_env
from tests.hostile.outputs import Outputs
from worker import policies, settings
from worker.authentication import Authenticator
from worker.http.keys import ApiKeys

ROOT = Path(__file__).parents[2]
SECRETS = {
    "the signing secret": "sign0123-qJ5vT8xW2mZ4-first+/=",
    "the second signing secret": "sign4567-bN7cR9yK3pL6-second+/=",
    "the API key of the HTTP door": "door0123-hG4fD6sA8oP1",
    "the platform's key of the worker": "plat0123-uY7tR5eW3qX9",
    "the caller's key": "call0123-zM2nB4vC6xL8",
    "a URL's query": "quer0123-wS8dF6gH4jK2",
    "a URL's password": "pass0123-eR5tY7uI9oP3",
    "another's bearer key": "bear0123-kL9jH7gF5dS1",
}
SIGNING, SECOND, DOOR, PLATFORM, CALLER, QUERY, PASSWORD, BEARER = SECRETS.values()
VARIABLES = {
    "EMBEDDING_HMAC_SECRET": SIGNING,
    "EMBEDDING_HMAC_SECRETS": f"second:{SECOND}",
    "EMBEDDING_API_KEYS": DOOR,
    "RUNPOD_AI_API_KEY": PLATFORM,
    "RUNPOD_API_KEY": CALLER,
    "LOG_LEVEL": "DEBUG",
    "IMAGE_DOWNLOAD_TIMEOUT": "0.5",
    "AUTH_AUDIENCE": "endpoint",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("secrets") / "tiny")


@pytest.fixture
def outputs() -> Iterator[Outputs]:
    """Searched at the end of each test."""
    found = Outputs(SECRETS)
    yield found
    assert len(found), "nothing was looked at"
    found.assert_clean()


def inputs(images: ImageServer) -> dict[str, object]:
    """A job for each wire code that a caller can bring about; each URL holds a secret."""

    def url(path: str) -> str:
        return images.url(f"{path}?X-Signature={QUERY}")

    def v1(url: str, **fields: object) -> dict[str, object]:
        return {"image_url": url, "auth": sign_v1(url, secret=SIGNING), **fields}

    def v2(**payload: object) -> dict[str, object]:
        text = json.dumps({"aud": "endpoint", "exp": int(time.time()) + 60, **payload})
        return {"payload": text, "auth": sign_v2(text, secret=SECOND, kid="second")}

    good = url("/picture/1.jpg")
    return {
        "OK": v1(good),
        "OK, v2": v2(image_url=good, request_id="r"),
        "OK, a text": v2(text="a cat"),
        "AUTH_FAILED": {"image_url": good, "auth": sign_v1(good, secret="another")},
        "AUTH_FAILED, the secret for a signature": {"image_url": good, "auth": {"ts": "1", "sig": "0"}},
        "AUTH_EXPIRED": {"image_url": good, "auth": sign_v1(good, secret=SIGNING, ts=1_700_000_000)},
        "INVALID_REQUEST": v1(good, normalize=QUERY),
        "INVALID_REQUEST, an unknown field": v2(image_url=good, surplus=QUERY),
        "MODEL_MISMATCH": v1(good, model=QUERY),
        "URL_REFUSED": v1(f"http://169.254.169.254/latest?token={QUERY}"),
        "URL_REFUSED, a password": v1(f"http://user:{PASSWORD}@example.com/?{QUERY}"),
        "URL_REFUSED, a redirect": v1(url("/redirect.jpg")),
        "DOWNLOAD_FAILED": v1(url("/missing.jpg")),
        "DOWNLOAD_FAILED, nobody there": v1(f"http://127.0.0.1:80/?{QUERY}"),
        "DOWNLOAD_TIMEOUT": v1(url("/never.jpg")),
        "IMAGE_TOO_LARGE": v1(url("/large.jpg")),
        "IMAGE_INVALID": v1(url("/text.txt")),
        "INVALID_REQUEST, no object": QUERY,
        "a batch": {"items": [v1(good), v1(url("/text.txt")), {"image_url": good, "auth": {"sig": QUERY}}, QUERY]},
    }


def assert_leaves_no_core(pid: int) -> None:
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits), limits
    assert int(Path(f"/proc/{pid}/coredump_filter").read_text(), 16) == 0


async def test_the_queues_worker(model: Path, outputs: Outputs) -> None:
    async with ImageServer().running() as images, JobApi(api_key=CALLER, worker_key=PLATFORM) as api:
        env = {**api.environment(), **worker_env(model, images.port), **VARIABLES}
        del env["RUNPOD_LOG_LEVEL"]  # the worker's own default
        async with (
            start_worker([sys.executable, "-m", "worker"], env, cwd=ROOT) as worker,
            httpx.AsyncClient(base_url=api.endpoint_url, headers={"Authorization": f"Bearer {CALLER}"}) as http,
        ):
            await worker.wait_for('"event": "ready"', timeout_s=60)
            assert_leaves_no_core(worker.process.pid)
            api.fail_next("job-done", 500)
            for name, job_input in inputs(images).items():
                answer = (await http.post("/runsync", json={"input": job_input}, timeout=30)).json()
                said = "OK" if answer["status"] == "COMPLETED" else answer["output"]["code"]
                assert name.startswith(("a batch", said)), (name, said)
                outputs.add(f"the reply to {name}", json.dumps(answer))
            await worker.stop()
            outputs.add("the log of the queue's worker", worker.output())
            assert worker.output().count('"event": "job"') >= len(inputs(images))


async def test_the_http_door(model: Path, outputs: Outputs) -> None:
    async with ImageServer().running() as images:
        env = {
            **worker_env(model, images.port),
            **VARIABLES,
            "HOST": "127.0.0.1",
            "PORT": "0",
            "RUNPOD_SERVERLESS": "0",
        }
        async with start_worker([sys.executable, "-m", "worker", "serve"], env, cwd=ROOT) as worker:
            await worker.wait_for('"event": "text_ready"', timeout_s=60)
            assert_leaves_no_core(worker.process.pid)
            (ports,) = re.findall(r'"ports": \[([0-9]+)\]', worker.output())
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports}", timeout=30) as http:
                for name, job_input in inputs(images).items():
                    for route in ("image", "image-batch", "text"):
                        response = await http.post(f"/v1/embed/{route}", json=job_input)
                        outputs.add(f"the answer of {route} to {name}", f"{response.headers}{response.text}")
                for key in (DOOR, BEARER, f"{DOOR}x"):
                    for body in (
                        {"input": images.url(f"/text.txt?{QUERY}"), "modality": "image"},
                        {"surplus": QUERY},
                        QUERY,
                    ):
                        headers = {"Authorization": f"Bearer {key}"}
                        response = await http.post("/v1/embeddings", json=body, headers=headers)
                        outputs.add("the answers of /v1/embeddings", f"{response.headers}{response.text}")
                for path in ("/metrics", "/health", "/ping", "/docs", "/openapi.json", "/", f"/{QUERY}?{QUERY}"):
                    response = await http.get(path, headers={"Authorization": f"Bearer {DOOR}"})
                    outputs.add(f"GET {path[:8]}", f"{response.headers}{response.text}")
            await worker.stop()
            outputs.add("the log of the HTTP door", worker.output())


def test_a_crash_leaves_no_dump_and_no_locals(model: Path, outputs: Outputs, tmp_path: Path) -> None:
    env = {**os.environ, **VARIABLES, "CLIP_MODEL_DIR": str(model), "WORKER_RUNTIME": "cpu", "PORT": "0"}
    env |= {"PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1", "HOST": "127.0.0.1"}
    command = ["sh", "-c", f'ulimit -c unlimited 2>/dev/null; exec "{sys.executable}" -m worker serve']
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE) as crashing:
        assert crashing.stderr is not None
        said = b""
        while b"text_ready" not in said:
            line = crashing.stderr.readline()
            assert line, said.decode()
            said += line
        crashing.send_signal(signal.SIGABRT)
        said += crashing.stderr.read()
    assert crashing.returncode == -signal.SIGABRT
    assert b"Fatal Python error: Aborted" in said
    assert list(tmp_path.iterdir()) == []
    outputs.add("what a crash prints", said)


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        (["worker"], {}),
        (["worker", "settings"], {}),
        (["worker", "info"], {}),
        (["worker", "selftest"], {}),
        (["worker", "serve"], {"EMBEDDING_HMAC_SECRETS": SECOND}),
        (["worker", "serve"], {"EMBEDDING_HMAC_SECRETS": f"default:{SECOND}"}),
        (["worker", "serve"], {"EMBEDDING_HMAC_SECRETS": f"a:{SECOND},a:{SIGNING}"}),
        (["worker", "serve"], {"EMBEDDING_HMAC_SECRET": SIGNING + "\udcff"}),
        (["worker", "serve"], {"ALLOW_INSECURE_AUTH": "2"}),
        (["worker", "serve"], {"CLIP_MODEL_DIR": "/nowhere"}),
        (["worker", "serve"], {"HOST": "no such host"}),
        (["heimdex_clip", "sign", "--image-url", "https://example.com/a"], {}),
        (["heimdex_clip", "sign", "--image-url", "https://example.com/a", "--v2"], {}),
        (["heimdex_clip", "smoke", "--inline"], {"RUNPOD_ENDPOINT_BASE_URL": "http://127.0.0.1:1/v2"}),
        (
            ["heimdex_clip", "smoke", "--inline"],
            {"CLIP_INFERENCE_BACKEND": "http", "CLIP_HTTP_URL": "http://127.0.0.1:1"},
        ),
        (["deploy", "up", "--dry-run", "--digest", "sha256:" + "0" * 64], {}),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else ",".join(value) or "-",
)
def test_the_command_lines(model: Path, outputs: Outputs, command: list[str], environment: dict[str, str]) -> None:
    env = {**VARIABLES, "CLIP_MODEL_DIR": str(model), "WORKER_RUNTIME": "cpu", "RUNPOD_CLIP_ENDPOINT_ID": "endpoint"}
    env |= {"PATH": os.environ["PATH"], "RUNPOD_TIMEOUT_S": "1", "HOST": "127.0.0.1", **environment}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=env, capture_output=True, timeout=90, check=False
    )
    said = done.stdout + done.stderr
    assert said
    assert b"Traceback" not in said
    outputs.add(" ".join(command), said)


def test_what_objects_and_errors_show_of_themselves(outputs: Outputs) -> None:
    read = settings.read({name: value for name, value in VARIABLES.items() if name != "LOG_LEVEL"})
    policy = policies.auth_policy(read)
    environ = {
        "RUNPOD_API_KEY": CALLER,
        "RUNPOD_CLIP_ENDPOINT_ID": "endpoint",
        "EMBEDDING_HMAC_SECRET": SIGNING,
        "CLIP_FALLBACK_BACKEND": "http",
        "CLIP_HTTP_URL": "http://127.0.0.1:1",
    }
    with ClipClient("endpoint", CALLER, SIGNING) as one, ClipClient.from_env(environ) as two:
        router = vars(one)["_router"]
        for thing in (one, two, router, router.primary if hasattr(router, "primary") else router, vars(one)):
            outputs.add("a client", thing)
    for shown in (read, policy, Authenticator(policy), ApiKeys(read.api_keys), ClientSettings.read(environ)):
        outputs.add(type(shown).__name__, f"{shown!r} {shown!s}")
    outputs.add("an asyncio client", AsyncClipClient("endpoint", CALLER, SIGNING))
    for secrets, single in (
        (SECOND, ""),
        (f"a:{SECOND},a:{SECOND}", ""),
        (f"default:{SECOND}", SIGNING),
        ("", SIGNING + "\udcff"),
    ):
        with pytest.raises(SettingsError) as caught:
            parse_keys(secrets, single)
        outputs.add_error("an error of parse_keys", caught.value)
    for arguments in (
        ("endpoint", CALLER + "\n", SIGNING),
        ("end point", CALLER, SIGNING),
        ("endpoint", CALLER, SIGNING + "\udcff"),
    ):
        with pytest.raises(SettingsError) as caught:
            ClipClient(*arguments)
        outputs.add_error("an error of ClipClient", caught.value)


async def test_the_client_at_its_most_talkative(outputs: Outputs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "asyncio", "heimdex_clip"):
        caplog.set_level(logging.DEBUG, logger=name)
    async with JobApi(api_key=CALLER, max_wait_s=0.1) as api:
        options = {"base_url": api.base_url, "timeout_s": 0.6, "attempt_timeout_s": 0.5}
        url = f"https://user:{PASSWORD}@images.example/a.jpg?X-Signature={QUERY}"
        for key, target in ((CALLER, api.base_url), (BEARER, api.base_url), (CALLER, "http://127.0.0.1:1/v2")):
            async with AsyncClipClient("endpoint", key, SIGNING, **{**options, "base_url": target}) as client:  # type: ignore[arg-type]
                with pytest.raises(ClipError) as caught:
                    await client.embed_image(url)
                outputs.add_error("an error of the client", caught.value)
            with ClipClient("endpoint", key, SIGNING, **{**options, "base_url": target}) as blocking:  # type: ignore[arg-type]
                with pytest.raises(ClipError) as caught:
                    await asyncio.to_thread(blocking.embed_image, url)
                outputs.add_error("an error of the blocking client", caught.value)
        assert api.calls["runsync"] >= 2
    assert "HTTP Request: POST" in caplog.text
    outputs.add("the client's log at DEBUG", caplog.text)
    for record in caplog.records:
        outputs.add("the client's log records", f"{record.args!r} {record.__dict__!r}")


def test_a_find_names_the_output_and_not_the_secret() -> None:
    for leaked in (SIGNING, SIGNING[:20], SIGNING.encode().hex(), "c2lnbjAxMjMtcUo1dlQ4eFcybVo0LWZpcnN0Ky89"):
        found = Outputs(SECRETS)
        found.add("the log", f"before {leaked} after")
        with pytest.raises(pytest.fail.Exception) as caught:
            found.assert_clean()
        assert str(caught.value) == "the log holds the signing secret"
