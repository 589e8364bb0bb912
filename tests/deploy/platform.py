"""RunPod's REST API v2 and the job API's health, on loopback: a real server that refuses what the schema refuses."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from jsonschema import Draft202012Validator

from tests.deploy.rest_schema import CREATE, UPDATE

KEY = "rpa_KEY-that-must-not-show"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Fields of a release's diff as the platform names them.
_RELEASE_FIELDS = {"image": "template.imageName", "env": "template.env"}


class Platform:
    """One account. Its state is plain data for tests to set and look at.

    `chatter` is a line that a worker logs again and again. `faults` holds answers (status, headers, body) that
    the next requests get instead of their own.
    """

    def __init__(self) -> None:
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.releases: dict[str, list[dict[str, Any]]] = {}
        self.workers: list[dict[str, Any]] = []
        self.log_lines: list[str] = []
        self.chatter: str | None = None
        self.jobs = {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0}
        self.spent_usd = 0.0
        self.faults: deque[tuple[int, dict[str, str], bytes]] = deque()
        self.requests: list[tuple[str, str, Any]] = []
        self.url = ""

    def app(self) -> web.Application:
        """The server."""
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/v2/serverless", self._list),
                web.post("/v2/serverless", self._create),
                web.patch("/v2/serverless/{id}", self._update),
                web.delete("/v2/serverless/{id}", self._delete),
                web.get("/v2/serverless/{id}/workers", self._workers),
                web.get("/v2/serverless/{id}/workers/{worker}/logs", self._logs),
                web.get("/v2/serverless/{id}/releases", self._releases),
                web.get("/v2/billing/serverless", self._billing),
                web.get("/jobs/{id}/health", self._health),
            ]
        )
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path_qs, body))
        if self.faults:
            status, headers, content = self.faults.popleft()
            return web.Response(status=status, headers=headers, body=content)
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _problem(401, "Unauthorized", "missing bearer token")
        if "id" in request.match_info and request.match_info["id"] not in self.endpoints:
            return _problem(404, "Not Found", "resource not found")
        return await handler(request)

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"endpoints": list(self.endpoints.values())})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        if refusal := _invalid(body, CREATE):
            return refusal
        own_id = f"ep{len(self.endpoints) + 1}abc"
        self.endpoints[own_id] = {
            "id": own_id,
            "createdAt": "2026-06-01T12:00:00Z",
            "dataCenterIds": [],
            "networkVolumes": [],
            **_as_answered(body),
        }
        self.releases[own_id] = []
        return web.json_response(self.endpoints[own_id], status=201)

    async def _update(self, request: web.Request) -> web.Response:
        body, live = await request.json(), self.endpoints[request.match_info["id"]]
        if refusal := _invalid(body, UPDATE):
            return refusal
        before = copy.deepcopy(live)
        for key, value in _as_answered(body).items():
            live[key] = {**live[key], **value} if key in ("gpu", "workers") else value
        diff = [
            {"field": _RELEASE_FIELDS.get(key, key), "old": before.get(key), "new": live[key]}
            for key in body
            if before.get(key) != live[key]
        ]
        release = {"id": "rel", "source": "MANUAL", "createdAt": "2026-06-01T12:10:00Z", "workerCount": 0, "diff": diff}
        self.releases[live["id"]].insert(0, release)
        return web.json_response(live)

    async def _delete(self, request: web.Request) -> web.Response:
        del self.endpoints[request.match_info["id"]]
        return web.Response(status=204)

    async def _workers(self, _: web.Request) -> web.Response:
        names = ("running", "idle", "initializing", "throttled", "unhealthy")
        summary = {name: sum(worker["status"] == name.upper() for worker in self.workers) for name in names}
        body = {"workers": self.workers, "summary": {**summary, "total": len(self.workers)}, "endpointVersion": 1}
        return web.json_response(body)

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        tail = int(request.query.get("tail", 100))
        for line in self.log_lines[-tail:] if tail else []:
            event = json.dumps({"ts": "2026-06-01T12:05:04Z", "source": "container", "line": line})
            await reply.write(f"id: 2026-06-01T12:05:04Z\ndata: {event}\n\n".encode())
        if self.chatter is None:
            await asyncio.sleep(60)  # the platform holds the stream open for lines to come
        while self.chatter is not None:
            event = json.dumps({"ts": "", "source": "container", "line": self.chatter})
            await reply.write(f"data: {event}\n\n".encode())
            await asyncio.sleep(0.02)
        return reply

    async def _releases(self, request: web.Request) -> web.Response:
        body = {
            "releases": self.releases[request.match_info["id"]],
            "rollout": {"inProgress": False, "workersOnLatest": 0, "workersTotal": 0, "percentOnLatest": 0},
        }
        return web.json_response(body)

    async def _billing(self, request: web.Request) -> web.Response:
        if request.query.get("serverlessId") not in self.endpoints:
            return _problem(400, "Bad Request", "unknown serverlessId")
        totals = {"totalAmount": self.spent_usd, "gpuAmount": 0, "cpuAmount": 0, "diskAmount": 0, "feeAmount": 0}
        return web.json_response({"records": [], "metadata": {"recordCount": 0, "totals": totals}})

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"jobs": self.jobs, "workers": {"idle": 0, "running": 0}})


def _as_answered(body: Mapping[str, Any]) -> dict[str, Any]:
    """As the platform answers what it was given: an empty list of exclusions is left out."""
    answered = copy.deepcopy(dict(body))
    if "gpu" in answered and not answered["gpu"].get("excludedTypes"):
        answered["gpu"].pop("excludedTypes", None)
    return answered


def _invalid(body: object, schema: Mapping[str, Any]) -> web.Response | None:
    errors = [error.message for error in Draft202012Validator(schema).iter_errors(body)]
    if isinstance(body, dict):
        gpu = body.get("gpu", {})
        if gpu.get("allowedCudaVersions") and gpu.get("minCudaVersion"):
            errors.append("allowedCudaVersions and minCudaVersion exclude each other")
        if body.get("scaling", {}).get("type") == "REQUEST_COUNT" and "idleTimeout" in body.get("workers", {}):
            errors.append("idleTimeout does not go with REQUEST_COUNT on a queue")
    return _problem(422, "Unprocessable Entity", "Request validation failed.", errors) if errors else None


def _problem(status: int, title: str, detail: str, errors: list[str] | None = None) -> web.Response:
    body = {"title": title, "status": status, "detail": detail, **({"errors": errors} if errors else {})}
    return web.json_response(body, status=status, content_type="application/problem+json")


@contextmanager
def running() -> Iterator[Platform]:
    """The platform in a thread of its own, since the commands under test block."""
    platform, loop, started = Platform(), asyncio.new_event_loop(), threading.Event()
    runner = web.AppRunner(platform.app(), shutdown_timeout=0.1, handler_cancellation=True)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        platform.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield platform
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
