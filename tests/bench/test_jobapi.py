"""The stand-in for RunPod's job API: its own rules, and the real SDK's loop against it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.jobapi import RUN_MAX_BYTES, JobApi, Status, WorkerProcess, start_worker
from bench.jobqueue import read_result

ECHO_WORKER = [sys.executable, str(Path(__file__).with_name("echo_worker.py"))]
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def api() -> AsyncIterator[JobApi]:
    async with JobApi(take_poll_s=0.5, stop_poll_s=0.5) as running:
        yield running


@pytest.fixture
async def caller(api: JobApi) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {api.api_key}"}
    async with httpx.AsyncClient(base_url=api.endpoint_url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
async def worker(api: JobApi) -> AsyncIterator[WorkerProcess]:
    async with start_worker(ECHO_WORKER, api.environment("w-1"), cwd=ROOT) as process:
        await process.wait_for("READY", timeout_s=60)
        yield process


# ---- the caller's side, with a worker played by the test


async def test_run_is_queued_then_taken_then_completed(api: JobApi, caller: httpx.AsyncClient) -> None:
    queued = (await caller.post("/run", json={"input": {"a": 1}})).json()
    assert queued["status"] == "IN_QUEUE"
    (job,) = await api.queue.take("w", wait_s=5)
    assert (job.id, job.input) == (queued["id"], {"a": 1})
    assert (await caller.get(f"/status/{job.id}")).json()["status"] == "IN_PROGRESS"
    assert api.queue.succeed(job, {"b": 2})
    done = (await caller.get(f"/status/{job.id}")).json()
    assert done["status"] == "COMPLETED"
    assert done["output"] == {"b": 2}
    assert done["workerId"] == "w"
    assert {type(done["delayTime"]), type(done["executionTime"])} == {int}


async def test_a_ping_may_name_every_job_of_a_full_worker(api: JobApi) -> None:
    jobs = "%2C".join("57f6bf30-a872-4104-af00-2116ab0ace2d" for _ in range(512))
    async with httpx.AsyncClient(headers={"Authorization": "worker-key"}) as sdk:
        answer = await sdk.get(f"{api.endpoint_url}/ping/w-1?gpu=none&job_id={jobs}")

    assert answer.status_code == 200
    assert api.calls["ping"] == 1


async def test_runsync_answers_the_result_or_the_state_after_its_wait(api: JobApi, caller: httpx.AsyncClient) -> None:
    waiting = (await caller.post("/runsync?wait=1", json={"input": 1})).json()
    assert waiting["status"] == "IN_QUEUE"
    posted = asyncio.create_task(caller.post("/runsync", json={"input": 2}))
    jobs = await api.queue.take("w", limit=1, wait_s=5)
    jobs += await api.queue.take("w", limit=1, wait_s=5)
    assert [job.input for job in jobs] == [1, 2]
    api.queue.succeed(jobs[1], {"error": "no", "code": "X"})
    answer = (await posted).json()
    assert (answer["status"], answer["error"], answer["output"]) == ("FAILED", "no", {"code": "X"})


@pytest.mark.parametrize("authorization", [None, "caller-key", "Bearer other", "Bearer worker-key"])
async def test_a_caller_needs_its_key(api: JobApi, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with httpx.AsyncClient(headers=headers) as client:
        for method, path in (("POST", "runsync"), ("POST", "run"), ("GET", "status/x"), ("GET", "health")):
            assert (await client.request(method, f"{api.endpoint_url}/{path}")).status_code == 401
    assert len(api.queue) == 0


@pytest.mark.parametrize(
    "body",
    ["{", "[]", "{}", '{"input": 1, "policy": {"ttl": 9999}}', '{"input": 1, "policy": {"executionTimeout": "9000"}}'],
)
async def test_refuses_what_the_platform_refuses(api: JobApi, caller: httpx.AsyncClient, body: str) -> None:
    assert (await caller.post("/run", content=body)).status_code == 400
    assert len(api.queue) == 0


async def test_refuses_a_body_over_the_limit(caller: httpx.AsyncClient) -> None:
    assert (await caller.post("/run", json={"input": "x" * RUN_MAX_BYTES})).status_code == 400
    assert (await caller.get("/status/nothing")).status_code == 404


async def test_a_job_left_in_the_queue_past_its_ttl_times_out_and_is_never_taken(caller: httpx.AsyncClient) -> None:
    async with JobApi(min_ttl_ms=1) as api:
        body = {"input": 1, "policy": {"ttl": 20}}
        reply = (await caller.post(f"{api.endpoint_url}/runsync", json=body)).json()
        assert reply["status"] == "TIMED_OUT"
        assert await api.queue.take("w", wait_s=0.05) == []


async def test_a_job_over_its_execution_timeout_times_out_and_its_worker_is_told(caller: httpx.AsyncClient) -> None:
    async with JobApi(min_execution_timeout_ms=1) as api:
        body = {"input": 1, "policy": {"executionTimeout": 20}}
        posted = asyncio.create_task(caller.post(f"{api.endpoint_url}/runsync", json=body))
        (job,) = await api.queue.take("w", wait_s=5)
        assert (await posted).json()["status"] == "TIMED_OUT"
        assert await api.queue.stop_signals("w", wait_s=5) == [job.id]
        assert not api.queue.succeed(job, {"too": "late"})
        assert job.status is Status.TIMED_OUT


async def test_a_cancelled_job_is_not_taken(api: JobApi, caller: httpx.AsyncClient) -> None:
    job_id = (await caller.post("/run", json={"input": 1})).json()["id"]
    assert (await caller.post(f"/cancel/{job_id}")).json()["status"] == "CANCELLED"
    assert await api.queue.take("w", wait_s=0.05) == []
    health = (await caller.get("/health")).json()
    assert health["jobs"]["inQueue"] == 0


async def test_faults_hit_the_next_requests_only(api: JobApi, caller: httpx.AsyncClient) -> None:
    api.fail_next("run", 503, times=2)
    api.fail_next("run", None)
    assert [(await caller.post("/run", json={"input": 1})).status_code for _ in range(2)] == [503, 503]
    with pytest.raises(httpx.TransportError):
        await caller.post("/run", json={"input": 1})
    assert (await caller.post("/run", json={"input": 1})).status_code == 200
    assert api.calls["run"] == 4


async def test_only_the_latest_results_are_kept() -> None:
    async with JobApi(keep_finished=2) as api:
        jobs = [api.queue.submit(number) for number in range(3)]
        for job in jobs:
            api.queue.succeed(job, {})
        assert [api.queue.get(job.id) for job in jobs] == [None, *jobs[1:]]
        api.queue.forget(jobs[1])
        assert api.queue.get(jobs[1].id) is None


@pytest.mark.parametrize(
    ("posted", "status", "members"),
    [
        ({"output": {"v": [1]}}, Status.COMPLETED, {"output": {"v": [1]}}),
        ({"output": {"error": "inner"}}, Status.COMPLETED, {"output": {"error": "inner"}}),
        ({"output": {"code": "X"}, "error": "e"}, Status.FAILED, {"output": {"code": "X"}, "error": "e"}),
        ({"error": "e"}, Status.FAILED, {"error": "e"}),
        ({"output": None, "stopPod": True}, Status.COMPLETED, {"output": None}),
        ({"status": "IN_PROGRESS", "output": 1}, Status.IN_PROGRESS, {}),
        ({}, Status.COMPLETED, {}),
    ],
)
def test_reads_what_a_worker_posts(posted: object, status: Status, members: object) -> None:
    read, kept = read_result(json.dumps(posted).encode())
    assert read is status
    assert json.loads(b"{" + kept + b"}") == members


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense"])
def test_a_result_that_is_no_object_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON object|Expecting value"):
        read_result(body)


# ---- the real SDK's loop


async def test_the_sdk_serves_single_and_batched_takes(caller: httpx.AsyncClient, worker: WorkerProcess) -> None:
    async def call(number: int) -> Any:
        return (await caller.post("/runsync", json={"input": {"reply": {"n": number}}})).json()

    first = await call(0)
    assert (first["status"], first["output"], first["workerId"]) == ("COMPLETED", {"n": 0}, "w-1")
    answers = await asyncio.gather(*(call(number) for number in range(50)))
    assert [answer["output"] for answer in answers] == [{"n": number} for number in range(50)]
    assert await worker.stop() == 0


async def test_the_sdk_reports_failures(caller: httpx.AsyncClient, worker: WorkerProcess) -> None:
    order = {"reply": {"error": "Authentication failed", "code": "AUTH_FAILED", "request_id": "r"}}
    failed = (await caller.post("/runsync", json={"input": order})).json()
    assert (failed["status"], failed["error"]) == ("FAILED", "Authentication failed")
    assert failed["output"] == {"code": "AUTH_FAILED", "request_id": "r"}
    raised = (await caller.post("/runsync", json={"input": {"raise": "boom"}})).json()
    assert raised["status"] == "FAILED"
    assert json.loads(raised["error"])["error_message"] == "boom"


async def test_a_cancelled_job_is_stopped_in_the_worker(caller: httpx.AsyncClient, worker: WorkerProcess) -> None:
    job = (await caller.post("/runsync?wait=1000", json={"input": {"sleep_s": 60}})).json()
    assert job["status"] == "IN_PROGRESS"
    await caller.post(f"/cancel/{job['id']}")
    await worker.wait_for(f"STOPPED {job['id']}", timeout_s=30)


async def test_the_sdk_survives_the_faults(api: JobApi, caller: httpx.AsyncClient, worker: WorkerProcess) -> None:
    api.fail_next("job-take", 500, times=2)
    api.fail_next("job-take", None)
    api.fail_next("job-done", 500, times=1)  # the SDK posts it again
    job = (await caller.post("/runsync", json={"input": {"reply": {"a": 1}}})).json()
    assert job["output"] == {"a": 1}
    assert api.calls["job-done"] == 2
    api.lose_results(1)
    lost = (await caller.post("/runsync?wait=1000", json={"input": {"reply": {"a": 2}}})).json()
    assert lost["status"] == "IN_PROGRESS"
    async with asyncio.timeout(30):
        while not api.calls["ping"]:  # noqa: ASYNC110  # the SDK's ping process comes when it comes
            await asyncio.sleep(0.05)


async def test_a_worker_that_dies_is_reported_and_leaves_nothing(api: JobApi) -> None:
    async with start_worker([sys.executable, "-c", "print('dead')"], api.environment(), cwd=ROOT) as process:
        with pytest.raises(RuntimeError, match="dead"):
            await process.wait_for("READY", timeout_s=30)
        assert await process.stop() == 0


async def test_a_worker_that_ignores_sigterm_is_killed() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('UP'); time.sleep(600)"
    async with start_worker([sys.executable, "-c", stubborn], {}, cwd=ROOT) as process:
        await process.wait_for("UP", timeout_s=30)
        assert await process.stop(timeout_s=0.1) == -signal.SIGKILL
