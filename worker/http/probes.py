"""What platforms and people ask of a server: /ping, /health, /metrics."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from worker.http.door import Door, State
from worker.http.operations import Operation
from worker.http.schemas import HEALTH
from worker.metrics import CONTENT_TYPE

PING_STATUS = {
    State.LOADING: HTTPStatus.NO_CONTENT,
    State.READY: HTTPStatus.OK,
    State.DRAINING: HTTPStatus.SERVICE_UNAVAILABLE,
    State.LOST: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""As RunPod's load balancer reads it: 204 starting, 200 ready, anything else unhealthy."""


def operations(door: Door) -> list[Operation]:
    """The routes of this module."""

    async def ping(_: Request) -> Response:
        return Response(status_code=PING_STATUS[door.state])

    async def health(_: Request) -> Response:
        return JSONResponse(door.health())

    async def metrics(_: Request) -> Response:
        return Response(door.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return [
        Operation(
            "GET",
            "/ping",
            ping,
            "Readiness, by status alone",
            answers={200: "Ready.", 204: "The model is loading.", 503: "Shutting down, or the lane is lost."},
        ),
        Operation("GET", "/health", health, "State, model, lane, uptime, queue depth", answers={200: HEALTH}),
        Operation(
            "GET",
            "/metrics",
            metrics,
            "Prometheus metrics",
            answers={200: "Requests, errors by code, stages, batch sizes, queue depth, in Prometheus's text format."},
        ),
    ]
