"""The queue's bodies over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from heimdex_clip.encoder.encoder import Encoder
from heimdex_clip.signing import sign_v1, sign_v2
from tests.worker import loopback
from tests.worker.http.conftest import SECRET, Served, new_door, png, ready, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(encoder: Encoder) -> AsyncIterator[Served]:
    async with ready(encoder) as found:
        yield found


def v2(**payload: object) -> dict[str, object]:
    text = json.dumps({"aud": "local", "exp": int(time.time()) + 60, **payload})
    return {"payload": text, "auth": sign_v2(text, secret=SECRET)}


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def post(served: Served, route: str, body: object) -> httpx.Response:
    return await served.client.post(f"/v1/embed/{route}", json=body)


async def image_server(request: loopback.Request) -> None:
    await request.answer(png())


async def test_a_v1_signed_image_url_is_embedded(served: Served) -> None:
    async with loopback.serve(image_server) as images:
        url = images.url("/cat.png")
        body = {"image_url": url, "request_id": "cat", "auth": dict(sign_v1(url, secret=SECRET))}
        response = await post(served, "image", body)
    reply = response.json()
    assert response.status_code == 200, reply
    assert (reply["request_id"], reply["dim"], reply["model"]) == ("cat", 512, "ViT-B-32")
    assert math.isclose(math.hypot(*reply["embedding"]), 1, abs_tol=1e-5)
    assert "inference;dur=" in response.headers["server-timing"]
    assert "download;dur=" in response.headers["server-timing"]


async def test_both_doors_give_the_same_vector(served: Served) -> None:
    body = v2(image_base64=base64_of(png(3)))
    over_http = (await post(served, "image", body)).json()
    directly = await served.door.service.handle(body)
    assert over_http["embedding"] == directly["embedding"]


async def test_a_batch_keeps_its_order_and_each_failure_to_itself(served: Served) -> None:
    items = [
        {"image_base64": base64_of(png(1)), "request_id": "a"},
        {"image_base64": base64_of(b"no image"), "request_id": "b"},
        {"image_base64": base64_of(png(2)), "request_id": "c"},
    ]
    response = await post(served, "image-batch", v2(items=items))
    results = response.json()["results"]
    assert response.status_code == 200
    assert [result["request_id"] for result in results] == ["a", "b", "c"]
    assert [result.get("code") for result in results] == [None, "IMAGE_INVALID", None]


async def test_texts_alone_and_in_a_batch(served: Served) -> None:
    one = await post(served, "text", v2(text="a cat", encoding="base64"))
    several = await post(served, "text", v2(items=[{"text": "a cat"}, {"text": "a dog"}], encoding="base64"))
    assert len(base64.b64decode(one.json()["embedding"])) == 512 * 4
    assert [len(result["embedding"]) for result in several.json()["results"]] == [len(one.json()["embedding"])] * 2


@pytest.mark.parametrize(
    ("route", "payload"),
    [
        ("image", {"text": "a cat"}),
        ("image", {"items": [{"image_base64": "AAAA"}]}),
        ("image", {"op": "info"}),
        ("image-batch", {"image_base64": "AAAA"}),
        ("image-batch", {"items": [{"image_base64": "AAAA"}, {"text": "a cat"}]}),
        ("text", {"image_base64": "AAAA"}),
        ("text", {"items": [{"text": "a cat"}, {"image_base64": "AAAA"}]}),
        ("text", {"op": "info"}),
    ],
)
async def test_a_body_for_another_route_is_refused(served: Served, route: str, payload: dict[str, object]) -> None:
    response = await post(served, route, v2(**payload))
    assert (response.status_code, response.json()["code"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("payload", "status", "code"),
    [
        ({"image_base64": base64_of(b"no image")}, 422, "IMAGE_INVALID"),
        ({"image_url": "ftp://example.com/a.png"}, 422, "URL_REFUSED"),
        ({"image_base64": "AAAA", "model": "ViT-L-14"}, 422, "MODEL_MISMATCH"),
        ({"image_base64": "AAAA", "more": 1}, 400, "INVALID_REQUEST"),
        ({"image_base64": "AAAA", "exp": 1767225600}, 401, "AUTH_EXPIRED"),
        ({"image_base64": "AAAA", "aud": "staging"}, 401, "AUTH_FAILED"),
        ({"image_base64": base64_of(bytes(10485761))}, 413, "IMAGE_TOO_LARGE"),
    ],
)
async def test_a_failure_has_its_status_and_the_contracts_form(
    served: Served, payload: dict[str, object], status: int, code: str
) -> None:
    response = await post(served, "image", v2(**payload, request_id="r"))
    reply = response.json()
    assert (response.status_code, reply["code"]) == (status, code)
    assert set(reply) == {"error", "code", "retryable", "request_id"}
    assert response.headers["x-should-retry"] == ("true" if reply["retryable"] else "false")


async def test_an_image_server_that_fails_is_a_bad_gateway(served: Served) -> None:
    async def broken(request: loopback.Request) -> None:
        await request.answer(status="503 Service Unavailable")

    async with loopback.serve(broken) as images:
        response = await post(served, "image", v2(image_url=images.url()))
    assert (response.status_code, response.json()["code"]) == (502, "DOWNLOAD_FAILED")


async def test_an_image_server_that_hangs_is_a_gateway_timeout(encoder: Encoder) -> None:
    async def silent(request: loopback.Request) -> None:
        await request.gone()

    async with ready(encoder, IMAGE_DOWNLOAD_TIMEOUT="0.2") as served, loopback.serve(silent) as images:
        response = await post(served, "image", v2(image_url=images.url()))
    assert (response.status_code, response.json()["code"]) == (504, "DOWNLOAD_TIMEOUT")


async def test_more_than_may_wait_is_told_when_to_come_back(encoder: Encoder) -> None:
    items = [{"text": "a cat"}] * 3
    async with ready(encoder, MAX_INFLIGHT_ITEMS="1", MAX_QUEUED_ITEMS="1") as served:
        response = await post(served, "text", v2(items=items))
    assert (response.status_code, response.json()["code"]) == (429, "OVERLOADED")
    assert response.headers["retry-after"] == "1"


async def test_a_client_that_hangs_up_cancels_its_work(encoder: Encoder) -> None:
    waiting, released = asyncio.Event(), asyncio.Event()

    async def slow(request: loopback.Request) -> None:
        waiting.set()
        await request.gone()
        released.set()

    async with ready(encoder) as served, loopback.serve(slow) as images:
        asking = asyncio.create_task(post(served, "image", v2(image_url=images.url())))
        await asyncio.wait_for(waiting.wait(), 30)
        assert served.door.service.admission.running == 1
        asking.cancel()
        await asyncio.wait_for(released.wait(), 30)
        async with asyncio.timeout(30):
            while served.door.service.admission.running:  # noqa: ASYNC110  # admission has no event for it
                await asyncio.sleep(0.01)


async def test_until_the_model_is_loaded_every_route_says_so() -> None:
    async with serving(new_door()) as served:
        for route in ("image", "image-batch", "text"):
            response = await post(served, route, v2(text="a cat"))
            assert (response.status_code, response.json()["code"]) == (503, "OVERLOADED")
            assert response.headers["retry-after"] == "1"
            assert response.json()["retryable"] is True
        assert (await served.embeddings({"input": "a cat"})).status_code == 503


async def test_a_lost_lane_and_a_drain_send_requests_elsewhere(encoder: Encoder) -> None:
    async with ready(encoder) as served:
        served.door.lose("the device fell off the bus")
        assert (await post(served, "text", v2(text="a cat"))).status_code == 503
    async with ready(encoder) as served:
        served.door.drain()
        assert (await post(served, "text", v2(text="a cat"))).status_code == 503
