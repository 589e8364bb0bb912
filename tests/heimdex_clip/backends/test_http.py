"""The HTTP backend against a server that fails in every way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from heimdex_clip import AsyncClipClient
from heimdex_clip._envelope import Answer
from heimdex_clip._exchange import Call, Pause
from heimdex_clip.backends.http import Http
from heimdex_clip.contract import Text
from heimdex_clip.errors import (
    AuthExpired,
    BadReply,
    ClipError,
    DeadlineExceeded,
    EndpointUnauthorized,
    EndpointUnavailable,
    ImageInvalid,
    InferenceFailed,
    Overloaded,
)
from tests.heimdex_clip.endpoint import SECRET, embed, raw_server

URL = "https://images.example/cat.jpg"


@dataclass
class Server:
    """Answers as the script says, one entry a request, then as a worker would."""

    script: list[Callable[[], web.Response]]
    payloads: list[Any] = field(default_factory=list)
    health: Mapping[str, object] = field(default_factory=dict)
    url: str = ""

    async def embed(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.payloads.append(json.loads(body["payload"]))
        return self.script.pop(0)() if self.script else web.json_response(embed(body, audience="local"))

    async def tell(self, _: web.Request) -> web.Response:
        return web.json_response(self.health)


@asynccontextmanager
async def serving(*script: Callable[[], web.Response], **health: object) -> AsyncIterator[Server]:
    server = Server(list(script), health=health)
    app = web.Application()
    app.router.add_post("/v1/embed/{kind}", server.embed)
    app.router.add_get("/health", server.tell)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def client(url: str, timeout_s: str = "20", attempt_timeout_s: str = "20") -> AsyncClipClient:
    made = AsyncClipClient.from_env(
        {
            "CLIP_INFERENCE_BACKEND": "http",
            "CLIP_HTTP_URL": url,
            "EMBEDDING_HMAC_SECRET": SECRET,
            "RUNPOD_TIMEOUT_S": timeout_s,
            "RUNPOD_ATTEMPT_TIMEOUT_S": attempt_timeout_s,
        }
    )
    assert isinstance(made, AsyncClipClient)
    return made


def failure(status: int, code: str, *, retryable: bool) -> Callable[[], web.Response]:
    reply = {"error": "no", "code": code, "retryable": retryable, "request_id": None}
    return lambda: web.json_response(reply, status=status)


def plain(status: int) -> Callable[[], web.Response]:
    return lambda: web.Response(status=status, text="<html>a proxy's page</html>")


async def test_what_can_be_cured_is_tried_again_under_the_same_request_id() -> None:
    script = [plain(502), failure(429, "OVERLOADED", retryable=True), failure(401, "AUTH_EXPIRED", retryable=True)]
    async with serving(*script) as server, client(server.url) as clip:
        embedding = await clip.embed_image(URL)
    assert [payload["request_id"] for payload in server.payloads] == [embedding.request_id] * 4


@pytest.mark.parametrize(
    ("script", "kind", "asked"),
    [
        ([failure(422, "IMAGE_INVALID", retryable=False)], ImageInvalid, 1),
        ([failure(401, "AUTH_EXPIRED", retryable=True)] * 2, AuthExpired, 2),
        ([failure(500, "INFERENCE_FAILED", retryable=True)] * 3, InferenceFailed, 3),
        ([plain(401)], EndpointUnauthorized, 1),
        ([plain(404)], EndpointUnavailable, 1),
        ([lambda: web.Response(text="fine")] * 3, BadReply, 3),
    ],
)
async def test_what_cannot_be_cured_is_raised_by_its_class(
    script: list[Callable[[], web.Response]], kind: type[ClipError], asked: int
) -> None:
    async with serving(*script) as server, client(server.url) as clip:
        with pytest.raises(kind):
            await clip.embed_image(URL)
    assert len(server.payloads) == asked


async def test_texts_and_batches_have_routes_of_their_own() -> None:
    async with serving() as server, client(server.url) as clip:
        assert (await clip.embed_text("a cat")).truncated
        assert len(await clip.embed_images([URL, b"x"])) == 2
    assert [sorted(payload)[1] for payload in server.payloads] == ["encoding", "encoding"]
    assert server.payloads[1]["items"][1]["image_base64"] == "eA=="


async def test_a_server_that_is_down_or_silent_is_given_up_at_the_deadline() -> None:
    async with serving() as server:
        url = server.url
    async with client(url, "0.5") as clip:
        with pytest.raises(EndpointUnavailable, match="ConnectError"):
            await clip.embed_image(URL)
        with pytest.raises(EndpointUnavailable):
            await clip.health()
    async with raw_server(b"") as silent, client(silent, "0.5", "0.2") as clip:
        with pytest.raises(ClipError) as raised:
            await clip.embed_image(URL)
    assert isinstance(raised.value, DeadlineExceeded | EndpointUnavailable)


def test_an_attempt_that_the_deadline_cuts_off_does_not_hide_what_the_one_before_it_met() -> None:
    now = 0.0
    http = Http.checked(
        "http://127.0.0.1:1",
        SECRET,
        audience="local",
        kid=None,
        timeout_s=10,
        attempt_timeout_s=10,
        clock=lambda: now,
        spread=lambda upper: upper,
    )
    steps = http.embed(Text("a cat"), "r", normalize=True)
    next(steps)
    now = 5
    assert isinstance(steps.send(Answer(503)), Pause)
    assert isinstance(steps.send(None), Call)
    now = 10
    with pytest.raises(EndpointUnavailable, match="503"):
        steps.send(Answer(None, fault="ReadTimeout"))


async def test_a_server_that_loads_is_not_ready() -> None:
    async with serving(state="loading", uptime_s=0.1) as server, client(server.url) as clip:
        health = await clip.health()
        assert (health.ready, health.detail["state"]) == (False, "loading")
        with pytest.raises(Overloaded, match="loading"):
            await clip.info()
