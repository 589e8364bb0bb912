"""Both clients against the loopback job API, whose worker is played by the test.

What the two share has tests of its own: test_exchange.py, test_envelope.py, test_request.py.
"""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from bench.jobapi import JobApi, Status
from heimdex_clip import AsyncClipClient, ClipClient
from heimdex_clip.contract import Embedding
from heimdex_clip.errors import (
    AuthFailed,
    BadReply,
    ClipError,
    DeadlineExceeded,
    EndpointUnauthorized,
    EndpointUnavailable,
    ImageInvalid,
    InvalidRequest,
    SettingsError,
)
from tests.heimdex_clip.endpoint import API_KEY, SECRET, embed, raw_server, serving

URL = "https://images.example/cat.jpg?token=abc"

Caller = Callable[..., Awaitable[Any]]


class Clients:
    """Makes clients of one kind, and calls the methods of either from async code."""

    def __init__(self, kind: str, stack: AsyncExitStack) -> None:
        self._kind = kind
        self._stack = stack

    async def of(self, api: JobApi, **settings: Any) -> Caller:
        """``await caller("embed_image", ...)`` for a new client of `api`'s endpoint."""
        return await self.make(api.endpoint_id, base_url=api.base_url, **settings)

    async def make(self, endpoint_id: str, **settings: Any) -> Caller:
        arguments: dict[str, Any] = {"api_key": API_KEY, "secret": SECRET, "timeout_s": 30.0} | settings
        if self._kind == "async":
            client = await self._stack.enter_async_context(AsyncClipClient(endpoint_id, **arguments))
            return lambda method, *args, **options: getattr(client, method)(*args, **options)
        blocking = self._stack.enter_context(ClipClient(endpoint_id, **arguments))
        return lambda method, *args, **options: asyncio.to_thread(getattr(blocking, method), *args, **options)


@pytest.fixture(params=["sync", "async"])
async def clients(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    async with AsyncExitStack() as stack:
        yield Clients(request.param, stack)


def failing(code: str, message: str = "no", *, retryable: bool = False) -> Callable[[object], object]:
    return lambda _input: {"error": message, "code": code, "retryable": retryable, "request_id": None}


# ---- results


@pytest.mark.parametrize("auth_version", [1, 2])
async def test_embeds_an_image(clients: Clients, auth_version: int) -> None:
    async with serving(embed) as api:
        call = await clients.of(api, auth_version=auth_version)
        embedding = await call("embed_image", URL, request_id="r-1", normalize=False)
    assert embedding == Embedding(
        request_id="r-1",
        vector=(0.0, 0.5, -0.25, 0.125),
        dim=4,
        model="ViT-B-32",
        pretrained="openai",
        normalized=False,
        model_digest="0123456789abcdef",
        lane="cpu",
        timings={"total_ms": 1.5},
        backend="runpod",
    )


async def test_makes_request_ids_of_its_own(clients: Clients) -> None:
    async with serving(embed) as api:
        call = await clients.of(api)
        first, second = await call("embed_image", URL), await call("embed_image", URL)
    assert len(first.request_id) == 32
    assert first.request_id != second.request_id


async def test_embeds_a_text(clients: Clients) -> None:
    async with serving(embed) as api:
        embedding = await (await clients.of(api))("embed_text", "a photo of a cat ☃")
    assert (embedding.vector[0], embedding.truncated) == (1.0, True)


async def test_a_batch_has_an_error_of_its_own_for_each_item(clients: Clients) -> None:
    def answer(job_input: Any) -> object:
        output: Any = embed(job_input)
        output["results"][1] = {"error": "broken", "code": "IMAGE_INVALID", "retryable": False}
        return output

    async with serving(answer) as api:
        good, bad = await (await clients.of(api))("embed_images", [URL, URL], normalize=False)
    assert isinstance(good, Embedding)
    assert not good.normalized
    assert isinstance(bad, ImageInvalid)


async def test_signs_for_its_endpoint_under_its_kid(clients: Clients) -> None:
    seen: list[Any] = []

    def answer(job_input: Any) -> object:
        seen.append(job_input)
        return embed(job_input, audience="staging-1")

    async with serving(answer, endpoint_id="staging-1") as api:
        await (await clients.of(api, kid="next", timeout_s=45))("embed_image", URL)
    (job_input,) = seen
    assert job_input["auth"]["kid"] == "next"
    assert json.loads(job_input["payload"])["exp"] > time.time() + 45


async def test_a_wrong_secret_is_told_apart_from_a_wrong_api_key(clients: Clients) -> None:
    async with serving(failing("AUTH_FAILED", "Authentication failed")) as api:
        with pytest.raises(AuthFailed, match="Authentication failed"):
            await (await clients.of(api, secret="other"))("embed_image", URL)
        with pytest.raises(EndpointUnauthorized):
            await (await clients.of(api, api_key="other"))("embed_image", URL)
        assert api.calls["runsync"] == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"request_id": "of another request"},
        {"normalized": False},
        {"dim": 5},
        {"embedding": None},
    ],
)
async def test_a_reply_that_is_not_the_requests_is_refused(clients: Clients, changed: dict[str, object]) -> None:
    async with serving(lambda job_input: {**embed(job_input), **changed}) as api:
        with pytest.raises(BadReply):
            await (await clients.of(api))("embed_image", URL)


@pytest.mark.parametrize("results", [None, [], [{}, {}], [None], [{"request_id": "other"}]])
async def test_a_batch_reply_of_another_form_is_refused(clients: Clients, results: object) -> None:
    async with serving(lambda _input: {"results": results, "model": "m"}) as api:
        with pytest.raises(BadReply):
            await (await clients.of(api))("embed_images", [URL])


# ---- the way there and back


async def test_polls_a_job_that_outlasts_the_platforms_wait(clients: Clients) -> None:
    answered = asyncio.Event()

    async def answer(job_input: Any) -> object:
        await answered.wait()
        return embed(job_input)

    async with serving(answer, max_wait_s=0) as api:
        asked = asyncio.ensure_future((await clients.of(api))("embed_image", URL, request_id="r"))
        while api.calls["status"] < 2:  # noqa: ASYNC110  # the client's polls are what is waited for
            await asyncio.sleep(0.01)
        api.fail_next("status", 503)
        api.fail_next("status", None)
        answered.set()
        assert (await asked).request_id == "r"
    assert api.calls["runsync"] == 1


async def test_tries_again_signed_anew_under_the_same_request_id(clients: Clients) -> None:
    payloads: list[Any] = []

    def answer(job_input: Any) -> object:
        payloads.append(json.loads(job_input["payload"]))
        return embed(job_input) if len(payloads) > 1 else failing("OVERLOADED", retryable=True)(job_input)

    async with serving(answer) as api:
        api.fail_next("runsync", 429)
        api.fail_next("runsync", 500)
        api.fail_next("runsync", None)
        embedding = await (await clients.of(api))("embed_image", URL)
        assert api.calls["runsync"] == 5
    assert {payload["request_id"] for payload in payloads} == {embedding.request_id}


async def test_a_job_lost_at_a_worker_is_cancelled_and_submitted_again(clients: Clients) -> None:
    jobs: Iterator[Callable[[Any], object]] = iter([lambda _input: None, embed])
    async with serving(lambda job_input: next(jobs)(job_input), max_wait_s=0) as api:
        call = await clients.of(api, attempt_timeout_s=0.3)
        assert (await call("embed_image", URL)).dim == 4
    assert (api.calls["runsync"], api.queue.counts[Status.CANCELLED]) == (2, 1)


async def test_at_the_deadline_a_job_still_pending_is_cancelled(clients: Clients) -> None:
    async with JobApi(api_key=API_KEY, max_wait_s=0) as api:
        with pytest.raises(DeadlineExceeded, match=r"within 0\.5 s"):
            await (await clients.of(api, timeout_s=0.5))("embed_image", URL)
        assert api.queue.counts == {Status.IN_QUEUE: 1, Status.CANCELLED: 1}


async def test_at_the_deadline_an_endpoint_that_fails_is_unavailable(clients: Clients) -> None:
    async with JobApi(api_key=API_KEY) as api:
        api.fail_next("runsync", 503, times=1000)
        with pytest.raises(EndpointUnavailable, match="HTTP 503"):
            await (await clients.of(api, timeout_s=1.5))("embed_image", URL)
        assert api.calls["runsync"] > 1


async def test_a_server_that_nobody_runs_is_unavailable(clients: Clients) -> None:
    async with JobApi() as api:
        base_url = api.base_url
    with pytest.raises(EndpointUnavailable, match="ConnectError"):
        await (await clients.make("e", base_url=base_url, timeout_s=0.6))("embed_image", URL)


async def test_a_body_that_drips_does_not_outlast_the_deadline(clients: Clients) -> None:
    async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", then=b" ") as base_url:
        call = await clients.make("e", base_url=base_url, timeout_s=0.5)
        with pytest.raises(DeadlineExceeded):
            await call("embed_image", URL)


async def test_a_longer_pause_than_the_deadline_is_not_begun(clients: Clients) -> None:
    reply = b"HTTP/1.1 429 X\r\nRetry-After: 3600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with raw_server(reply) as base_url:
        call = await clients.make("e", base_url=base_url, timeout_s=60)
        with pytest.raises(EndpointUnavailable, match="HTTP 429"):
            await call("embed_image", URL)


async def test_what_the_platform_would_refuse_is_not_sent(clients: Clients) -> None:
    async with JobApi(api_key=API_KEY) as api:
        call = await clients.of(api)
        urls = ["https://images.example/" + "x" * 8000] * 3000
        with pytest.raises(InvalidRequest, match=r"first 24\d\d of these 3000 items"):
            await call("embed_images", urls)
        malformed: list[tuple[str, object]] = [
            ("embed_image", "x" * 9000),
            ("embed_text", "half \ud800"),
            ("embed_images", []),
            ("embed_images", [URL, "x" * 9000]),
        ]
        for request in malformed:
            with pytest.raises(InvalidRequest):
                await call(*request)
        old = await clients.of(api, auth_version=1)
        beyond_v1: list[tuple[str, object]] = [("embed_text", "a text"), ("embed_images", [URL])]
        for request in beyond_v1:
            with pytest.raises(InvalidRequest, match="auth_version=2"):
                await old(*request)
        assert not api.calls


# ---- settings and secrets


@pytest.mark.parametrize("kind", [ClipClient, AsyncClipClient])
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"endpoint_id": ""}, "endpoint_id"),
        ({"endpoint_id": "a/../b"}, "endpoint_id"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": "never\nshow"}, "api_key"),
        ({"api_key": "never-show-ü"}, "api_key"),
        ({"secret": ""}, "secret"),
        ({"secret": "never-show-\udcff"}, "secret"),
        ({"kid": ""}, "kid"),
        ({"kid": "a b"}, "kid"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"timeout_s": 1e9}, "timeout_s"),
        ({"attempt_timeout_s": -1}, "attempt_timeout_s"),
        ({"auth_version": 3}, "auth_version"),
        ({"base_url": "ftp://x"}, "base_url"),
        ({"base_url": "http://u:p@x"}, "base_url"),
        ({"base_url": "http://x:port"}, "base_url"),
        ({"base_url": "http://x/?q"}, "base_url"),
    ],
)
def test_a_bad_setting_is_named_and_no_secret_shown(
    kind: type[ClipClient | AsyncClipClient], changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingsError, match=named) as raised:
        kind(**{"endpoint_id": "e", "api_key": "k", "secret": "s"} | changed)
    assert "never" not in str(raised.value)


async def test_no_secret_in_repr_errors_or_logs(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    shown = [repr(ClipClient("e", API_KEY, SECRET)), repr(AsyncClipClient("e", API_KEY, SECRET))]
    async with serving(failing("AUTH_FAILED")) as api:
        for settings in ({}, {"timeout_s": 0.3}, {"api_key": API_KEY + "x"}):
            api.fail_next("runsync", None, times=3 * ("timeout_s" in settings))
            with pytest.raises(ClipError) as raised:
                await (await clients.of(api, **settings))("embed_image", URL)
            shown += traceback.format_exception(raised.value)
            cause = raised.value.__context__
            while cause is not None:  # an httpx error would carry the request with its headers
                assert not isinstance(cause, httpx.HTTPError)
                cause = cause.__context__
    text = "\n".join([*shown, caplog.text])
    assert "runsync" in text
    assert SECRET not in text
    assert API_KEY not in text


async def test_a_closed_task_leaves_no_client_open() -> None:
    async with serving(embed) as api:
        async with AsyncClipClient(api.endpoint_id, API_KEY, SECRET, base_url=api.base_url) as client:
            await client.embed_image(URL)
        with pytest.raises(RuntimeError, match="closed"):
            await client.embed_image(URL)
