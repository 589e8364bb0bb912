"""Hostile JSON through every door: as values to the service, as bytes to the HTTP server, as jobs to the real SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heimdex_clip.encoder.encoder import Encoder
from heimdex_clip.errors import WIRE_ERRORS
from heimdex_clip.signing import sign_v2
from tests import tiny_model
from tests.e2e import rig
from tests.fuzz import serving
from tests.fuzz.hostile import BODIES, FIELDS, LARGE, SHALLOW, nested
from tests.fuzz.target import check_reply
from tests.worker.http.conftest import KEY, Served, ready
from worker.service import EmbeddingService, Reply

ROUTES = ("/v1/embed/image", "/v1/embed/image-batch", "/v1/embed/text", "/v1/embeddings")
_UNSIGNED = {"EMBEDDING_HMAC_SECRET": "", "ALLOW_INSECURE_AUTH": "1"}
_LARGE_BYTES, _ROUTES_OF_LARGE = 1 << 20, ("/v1/embed/text", "/v1/embeddings")

ATOMS = st.sampled_from(SHALLOW) | st.integers() | st.floats() | st.text() | st.text(st.characters(categories=["Cs"]))
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=6),
    max_leaves=25,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("hostile") / "tiny")


@pytest.fixture(scope="module")
def encoder(tiny: Path) -> Encoder:
    return serving.open_tiny(tiny)


# ---- the service -------------------------------------------------------------------------------


@dataclass
class Services:
    """One that wants signatures and one that does not, in a loop of their own."""

    runner: asyncio.Runner
    signed: EmbeddingService
    unsigned: EmbeddingService

    def answers(self, value: object) -> Iterator[Reply]:
        """To the value as an input, with and without a signature, and as the payload of a good one."""
        yield self.runner.run(self.signed.handle(value))
        yield self.runner.run(self.unsigned.handle(value))
        try:
            text = json.dumps(value)
        except (ValueError, RecursionError):
            return
        payload = serving.addressed(text) if isinstance(value, dict) else text
        signed = {"payload": payload, "auth": sign_v2(payload, secret=serving.SECRET)}
        yield self.runner.run(self.signed.handle(signed))


@pytest.fixture(scope="module")
def services(encoder: Encoder) -> Iterator[Services]:
    with asyncio.Runner() as runner:

        async def start(environment: dict[str, str]) -> EmbeddingService:
            return serving.new_service(encoder, serving.new_settings(environment))

        both = Services(runner, runner.run(start(serving.SIGNED)), runner.run(start(serving.UNSIGNED)))
        yield both
        runner.run(both.signed.close())
        runner.run(both.unsigned.close())


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_the_service_answers_any_json(services: Services, value: object) -> None:
    for reply in services.answers(value):
        check_reply(reply)


@pytest.mark.parametrize(
    "field",
    [None, "items", "payload", "auth", "exp", "text", "image_url", "image_base64", "request_id", "model", "encoding"],
)
def test_the_service_answers_what_is_large_or_deep(services: Services, field: str | None) -> None:
    for value in LARGE.values():
        for reply in services.answers(value if field is None else {field: value}):
            check_reply(reply)


@pytest.mark.parametrize("field", ["text", "image_base64", "image_url", "request_id", "model", "encoding", "normalize"])
def test_an_item_that_is_large_or_deep_fails_alone(services: Services, field: str) -> None:
    for value in LARGE.values():
        reply = services.runner.run(services.unsigned.handle({"items": [{field: value}, {"text": "a cat"}]}))
        check_reply(reply)
        rows = reply["results"]
        assert isinstance(rows, list)
        assert "embedding" in rows[1]


# ---- the HTTP server ---------------------------------------------------------------------------


def assert_typed(name: str, answer: bytes, status: int) -> None:
    assert b"Traceback" not in answer
    assert 200 <= status < 500 or status == 503, (name, status, answer[:300])
    if status != 200:
        error = json.loads(answer)["error"]
        code = error["code"] if isinstance(error, dict) else json.loads(answer)["code"]
        assert code in WIRE_ERRORS
        assert code != "INTERNAL"


async def assert_serves(served: Served) -> None:
    response = await served.client.post("/v1/embed/text", json={"text": "a cat"})
    assert (response.status_code, response.json()["dim"]) == (200, 5)


@pytest.mark.parametrize("route", ROUTES)
async def test_the_server_answers_any_bytes(encoder: Encoder, route: str) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    async with ready(encoder, **_UNSIGNED) as served:
        for name, body in BODIES.items():
            if len(body) > _LARGE_BYTES and route not in _ROUTES_OF_LARGE:
                continue
            response = await served.client.post(route, content=body, headers=headers)
            assert_typed(name, response.content, response.status_code)
        await assert_serves(served)


RAW_REQUESTS: Mapping[str, bytes] = {
    "nothing but a line": b"\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "an unknown method": b"HACK /v1/embed/text HTTP/1.1\r\nHost: a\r\n\r\n",
    "a negative length": b"POST /v1/embed/text HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "a huge length": b"POST /v1/embed/text HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 300 + b"\r\n\r\n",
    "a length that is no number": b"POST /v1/embed/text HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n{}{}{}{}{}",
    "two lengths": b"POST /v1/embed/text HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "a length and chunks": b"POST /v1/embed/text HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a chunk that is no number": b"POST /v1/embed/text HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "headers of 1 MB": b"GET /ping HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * (1 << 20) + b"\r\n\r\n",
    "a path of 1 MB": b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "a header in other bytes": b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff\xfe\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "an expectation": b"POST /v1/embed/text HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "an upgrade": b"GET /ping HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a dot path": b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute target": b"GET http://169.254.169.254/latest HTTP/1.1\r\nHost: a\r\n\r\n",
}


async def test_the_server_survives_what_is_no_http(encoder: Encoder) -> None:
    async with ready(encoder, **_UNSIGNED) as served:
        port = int(served.url.rpartition(":")[2])
        for name, request in RAW_REQUESTS.items():
            answer = await exchange(port, request)
            assert b"Traceback" not in answer, name
            assert b"INTERNAL" not in answer, name
            assert not answer or int(answer.split(b" ")[1]) < 500, (name, answer[:200])
        await assert_serves(served)


async def exchange(port: int, request: bytes) -> bytes:
    """Send it, say no more, and read until the server has nothing to say either."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


# ---- the SDK's loop ----------------------------------------------------------------------------

NASTIEST: Mapping[str, Callable[[rig.Rig], object]] = {
    "900 lists": lambda _: nested(900),
    "900 objects": lambda _: nested(900, mapping=True),
    "numbers that JSON has not": lambda _: [float("nan"), float("inf"), float("-inf")],
    "an integer of 400 digits": lambda _: {"text": 10**400, "auth": {"ts": 10**400, "sig": -1}},
    "half a surrogate pair": lambda _: {"image_url": "\ud800", "request_id": "\udfff", "auth": {"ts": "\ud800"}},
    "a string of 10 MB": lambda _: {"image_url": "a" * (10 << 20)},
    "a payload of 10 MB": lambda _: {"payload": "[" * (10 << 20), "auth": {"v": 2, "kid": "default", "sig": "0" * 64}},
    "a field twice, signed": lambda at: signed(at, '{"text": "a", "text": "b"}'),
    "10,000 levels, signed": lambda at: signed(at, '{"items": ' + "[" * 10_000 + "]" * 10_000 + "}"),
    "NaN, signed": lambda at: signed(at, '{"text": NaN}'),
    "a character of 5,000 digits, signed": lambda at: at.v2(text="&#" + "9" * 5000 + ";"),
    "a truth for a number, signed": lambda at: signed(at, '{"text": true, "normalize": 1}'),
    "null bytes, signed": lambda at: at.v2(text="\x00", request_id="\x00" * 256),
    "10,000 items": lambda _: {"items": [None] * 10_000},
}


def signed(at: rig.Rig, payload: str) -> dict[str, object]:
    return {"payload": payload, "auth": sign_v2(payload, secret=rig.SECRET)}


async def test_the_real_loop_answers_the_nastiest_and_lives_on(tiny: Path) -> None:
    async with rig.running(tiny) as at:
        await asyncio.gather(*(ask(at.job(make(at)), name) for name, make in NASTIEST.items()))
        alive = await at.client.embed_text("a cat")
        assert alive.dim == 5
        output = at.worker.output()
    assert "Traceback" not in output
    assert '"INTERNAL"' not in output


async def ask(answer: Awaitable[dict[str, Any]], name: str) -> None:
    envelope = await answer
    assert envelope["status"] in ("COMPLETED", "FAILED"), (name, str(envelope)[:300])
    text = json.dumps(envelope)
    assert "Traceback" not in text, name
    output = envelope["output"]
    assert envelope["status"] == "COMPLETED" or output["code"] in WIRE_ERRORS, name
    assert output.get("code") not in ("INTERNAL", "INFERENCE_FAILED"), name
