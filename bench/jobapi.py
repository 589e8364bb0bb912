"""A stand-in for RunPod's job API on loopback: the real SDK's worker loop runs against it, and real callers too.

The worker's side, as runpod 1.12.0 speaks it:

- job-take answers one job, job-take-batch (asked for when more than one is wanted) a list; 204 means none.
- job-done posts JSON under a form's content type; a 5xx there is tried three times in all, then dropped.
- job-stop is a long poll for ``{"jobsToStop": [ids]}``.
- The Authorization header is the worker's raw key. The SDK reads the URLs at import: "$ID" is the worker's
  id in the take URL and the job's id in the output URL, and the "?" is required, since it appends "&...".

The caller's side: /run, /runsync, /status, /cancel and /health, with `Bearer` and the caller's key.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

from bench.jobqueue import DEFAULT_EXECUTION_TIMEOUT_S, DEFAULT_TTL_S, Job, JobQueue, Status, read_result
from bench.workerprocess import WorkerProcess, start_worker

__all__ = ["Job", "JobApi", "JobQueue", "Status", "WorkerProcess", "start_worker"]

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

RUN_MAX_BYTES = 10 << 20
RUNSYNC_MAX_BYTES = 20 << 20
_MAX_URL_BYTES = 1 << 17


class JobApi:
    """One endpoint's job API on a free port of 127.0.0.1, alive inside ``async with``.

    `queue` holds the jobs and `calls` counts requests by route: "run", "runsync", "status", "cancel",
    "health", "job-take" (batches too), "job-stop", "job-done", "job-stream", "ping". `take_poll_s` and
    `stop_poll_s` are how long a worker's polls are held when there is nothing to say; `max_wait_s` caps the
    wait that a caller asks of /runsync.
    """

    queue: JobQueue

    def __init__(
        self,
        *,
        endpoint_id: str = "endpoint",
        api_key: str = "caller-key",
        worker_key: str = "worker-key",
        take_poll_s: float = 3.0,
        stop_poll_s: float = 3.0,
        max_wait_s: float = 300.0,
        min_ttl_ms: int = 10_000,
        min_execution_timeout_ms: int = 5_000,
        keep_finished: int = 10_000,
    ) -> None:
        self.endpoint_id = endpoint_id
        self.api_key = api_key
        self.calls: Counter[str] = Counter()
        self._worker_key = worker_key
        self._take_poll_s = take_poll_s
        self._stop_poll_s = stop_poll_s
        self._max_wait_s = max_wait_s
        self._least_ms = {"ttl": min_ttl_ms, "executionTimeout": min_execution_timeout_ms}
        self._keep_finished = keep_finished
        self._faults: defaultdict[str, deque[int | None]] = defaultdict(deque)
        self._results_to_lose = 0
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        """What a caller's client takes for the platform's address; the endpoint's id comes after it."""
        assert self._runner is not None, "the job API is not running"
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v2"

    @property
    def endpoint_url(self) -> str:
        """``{base_url}/{endpoint_id}``, before /runsync and the others."""
        return f"{self.base_url}/{self.endpoint_id}"

    def environment(self, worker_id: str = "worker-1") -> dict[str, str]:
        """The variables that make the SDK in a subprocess serve this API under the name `worker_id`."""
        base = self.endpoint_url
        return {
            "RUNPOD_POD_ID": worker_id,
            "RUNPOD_ENDPOINT_ID": self.endpoint_id,
            "RUNPOD_AI_API_KEY": self._worker_key,
            "RUNPOD_PING_INTERVAL": "5000",
            "RUNPOD_LOG_LEVEL": "WARN",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
        }

    def fail_next(self, route: str, status: int | None, *, times: int = 1) -> None:
        """Answer the next `times` requests of `route` with an HTTP status, or cut the connection (None)."""
        self._faults[route].extend([status] * times)

    def lose_results(self, times: int = 1) -> None:
        """Accept the next `times` results from workers and throw them away."""
        self._results_to_lose += times

    async def __aenter__(self) -> Self:
        self.queue = JobQueue(keep_finished=self._keep_finished)
        app = web.Application(client_max_size=RUNSYNC_MAX_BYTES)
        endpoint = f"/v2/{self.endpoint_id}"
        worker, caller = self._worker_key, f"Bearer {self.api_key}"
        for method, path, key, handler in (
            ("POST", "/run", caller, self._run),
            ("POST", "/runsync", caller, self._runsync),
            ("GET", "/status/{job}", caller, self._status),
            ("POST", "/cancel/{job}", caller, self._cancel),
            ("GET", "/health", caller, self._health),
            ("GET", "/job-take/{worker}", worker, self._take),
            ("GET", "/job-take-batch/{worker}", worker, self._take),
            ("GET", "/job-stop/{worker}", worker, self._stop),
            ("GET", "/ping/{worker}", worker, self._accept),
            ("POST", "/job-done/{worker}/{job}", worker, self._done),
            ("POST", "/job-stream/{worker}/{job}", worker, self._accept),
        ):
            name = path.split("/")[1].removesuffix("-batch")
            app.router.add_route(method, endpoint + path, self._guarded(name, key, handler))
        # A poll that its worker gave up must not take a job into nowhere.
        # The SDK names every job under way in the URL of a ping: 256 of them have more than aiohttp's 8 KiB.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.5, max_line_size=_MAX_URL_BYTES
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        self._runner = None

    def _guarded(self, route: str, key: str, handler: _Handler) -> _Handler:
        """Count, inject a fault if one is due, check the key."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            self.calls[route] += 1
            if self._faults[route]:
                status = self._faults[route].popleft()
                if status is None:
                    if request.transport is not None:
                        request.transport.abort()
                    raise ConnectionResetError
                return web.Response(status=status)
            if request.headers.get("Authorization") != key:
                return web.Response(status=401)
            return await handler(request)

        return guarded

    # ---- the caller's side

    async def _run(self, request: web.Request) -> web.Response:
        job = self._submit(await request.read(), max_bytes=RUN_MAX_BYTES, prefix="")
        return _json(job.envelope())

    async def _runsync(self, request: web.Request) -> web.Response:
        wait_s = min(float(request.query.get("wait", 90_000)) / 1000, self._max_wait_s)
        job = self._submit(await request.read(), max_bytes=RUNSYNC_MAX_BYTES, prefix="sync-")
        try:
            async with asyncio.timeout(wait_s):
                await job.finished.wait()
        except TimeoutError:
            pass  # the envelope then says IN_QUEUE or IN_PROGRESS, and the caller polls /status
        return _json(job.envelope())

    def _submit(self, body: bytes, *, max_bytes: int, prefix: str) -> Job:
        if len(body) > max_bytes:
            raise web.HTTPBadRequest(text=json.dumps({"error": f"exceeded max body size of {max_bytes >> 20}MiB"}))
        try:
            fields = json.loads(body)
            policy = fields.get("policy", {})
            return self.queue.submit(
                fields["input"],
                ttl_s=self._policy_s(policy, "ttl", DEFAULT_TTL_S),
                execution_timeout_s=self._policy_s(policy, "executionTimeout", DEFAULT_EXECUTION_TIMEOUT_S),
                prefix=prefix,
            )
        except (ValueError, KeyError, AttributeError):
            raise web.HTTPBadRequest(text='{"error": "bad request"}') from None

    def _policy_s(self, policy: Mapping[str, object], name: str, default_s: float) -> float:
        value = policy.get(name)
        if value is None:
            return default_s
        if type(value) is not int or value < self._least_ms[name]:
            raise ValueError(f"{name} must be a whole number of at least {self._least_ms[name]} ms")
        return value / 1000

    async def _status(self, request: web.Request) -> web.Response:
        return _json(self._job(request).envelope())

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._job(request)
        self.queue.cancel(job)
        return _json(job.envelope())

    async def _health(self, _request: web.Request) -> web.Response:
        count = self.queue.counts
        running = self.queue.count(Status.IN_PROGRESS)
        jobs = {
            "completed": count[Status.COMPLETED],
            "failed": count[Status.FAILED] + count[Status.TIMED_OUT],
            "inProgress": running,
            "inQueue": self.queue.count(Status.IN_QUEUE),
            "retried": 0,
        }
        workers = {"idle": 0, "initializing": 0, "ready": 1, "running": int(running > 0), "throttled": 0}
        return web.json_response({"jobs": jobs, "workers": workers})

    def _job(self, request: web.Request) -> Job:
        job = self.queue.get(request.match_info["job"])
        if job is None:
            raise web.HTTPNotFound(text='{"error": "job not found"}')
        return job

    # ---- the worker's side

    async def _take(self, request: web.Request) -> web.Response:
        limit = int(request.query.get("batch_size", 1))
        jobs = await self.queue.take(request.match_info["worker"], limit=limit, wait_s=self._take_poll_s)
        if not jobs:
            return web.Response(status=204)
        rows = [{"id": job.id, "input": job.input} for job in jobs]
        return web.json_response(rows if "batch_size" in request.query else rows[0])

    async def _stop(self, request: web.Request) -> web.Response:
        ids = await self.queue.stop_signals(request.match_info["worker"], wait_s=self._stop_poll_s)
        return web.json_response({"jobsToStop": ids}) if ids else web.Response(status=204)

    async def _accept(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({})

    async def _done(self, request: web.Request) -> web.Response:
        job = self._job(request)
        limit = RUNSYNC_MAX_BYTES if job.id.startswith("sync-") else RUN_MAX_BYTES
        body = await request.read()
        if len(body) > limit:
            return web.Response(status=400)
        if self._results_to_lose:
            self._results_to_lose -= 1
            return web.Response()
        status, members = read_result(body)
        if status is not Status.IN_PROGRESS:
            self.queue.finish(job, status, members)
        return web.Response()


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
