"""What a body may be, before anything is made of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from heimdex_clip.encoder.encoder import Encoder
from tests.worker.http.conftest import Served, new_door, ready
from worker.http.body import MAX_BODY_BYTES, Bodies
from worker.http.replies import Refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = {"Content-Type": "application/json"}
ROUTES = ["/v1/embed/image", "/v1/embeddings"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(encoder: Encoder) -> AsyncIterator[Served]:
    async with ready(encoder) as found:
        yield found


async def post(served: Served, route: str, content: bytes, headers: dict[str, str] = JSON) -> tuple[int, str]:
    bearer = {"Authorization": "Bearer key-of-the-tests"}
    response = await served.client.post(route, content=content, headers={**bearer, **headers})
    reply = response.json()
    return response.status_code, reply["code"] if "code" in reply else reply["error"]["code"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"text": NaN}',
        b'{"text": -Infinity}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
        b'{"text": "\xed\xa0\x80"}',
        b"null",
        b"[]",
        b'"text"',
        b'{"text": "\\ud800"}',
    ],
    ids=lambda content: content[:12],
)
async def test_what_is_not_a_request_is_400(served: Served, route: str, content: bytes) -> None:
    assert await post(served, route, content) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "application/jsonp"],
)
async def test_another_content_type_is_400(served: Served, route: str, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert await post(served, route, b"{}", headers) == (400, "INVALID_REQUEST")


async def test_a_charset_of_utf8_is_accepted(served: Served) -> None:
    headers = {"Content-Type": 'Application/JSON; charset="UTF-8"'}
    assert await post(served, "/v1/embed/text", b'{"text": "unsigned"}', headers) == (401, "AUTH_FAILED")


async def exchange(served: Served, header: str, chunks: int, chunk: bytes) -> bytes:
    """Send a request by hand and return what came back, whether or not all of it could be sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
    head = ("POST /v1/embed/image HTTP/1.1", "Host: x", "Content-Type: application/json", header, "", "")
    writer.write("\r\n".join(head).encode())
    try:
        for _ in range(chunks):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    writer.transport.abort()
    return answer


async def test_a_declared_body_over_the_limit_is_413_before_it_is_read(served: Served) -> None:
    assert (await exchange(served, f"Content-Length: {1 << 40}", 0, b"")).startswith(b"HTTP/1.1 413 ")


async def test_an_undeclared_body_over_the_limit_is_413_while_it_is_read(served: Served) -> None:
    chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    # Never finished: an answer means that the limit did not wait for the end.
    answer = await exchange(served, "Transfer-Encoding: chunked", MAX_BODY_BYTES // (1 << 20) + 1, chunk)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_does_not_arrive_is_408() -> None:
    door = new_door()
    door.bodies = Bodies(max_held_bytes=1 << 20, timeout_s=0.05)
    request = _request([b"{"], hang=True)
    with pytest.raises(Refusal) as caught:
        async with door.bodies.json(request):
            pass
    assert (caught.value.status, caught.value.error.code) == (408, "DEADLINE_EXCEEDED")


async def test_all_bodies_together_have_a_limit_that_is_given_back() -> None:
    bodies = Bodies(max_held_bytes=10)
    for _ in range(3):
        async with bodies.json(_request([b"[1,2,3,4]"])) as body:
            assert body == [1, 2, 3, 4]
            with pytest.raises(Refusal) as caught:
                async with bodies.json(_request([b"[1", b"]"])):
                    pass
            assert (caught.value.status, caught.value.error.code) == (429, "OVERLOADED")


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
async def test_any_bytes_are_json_or_refused(content: bytes) -> None:
    status: int | None = None
    try:
        async with Bodies(max_held_bytes=1000).json(_request([content])) as body:
            assert body == json.loads(content.decode())
    except Refusal as refusal:
        status = refusal.status
    assert status in (None, 400)


def _request(chunks: list[bytes], *, hang: bool = False) -> Request:
    """A request as the server hands it over, without a server."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]

    async def receive() -> dict[str, object]:
        if messages:
            return messages.pop(0)
        if hang:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    return Request({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive)
