"""A request's body and headers before the HTTP door: no status 500, no fault of the server's own, always JSON."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from heimdex_clip.errors import WIRE_ERRORS
from heimdex_clip.signing import sign_v2
from tests.fuzz import fuzz_handler, serving
from tests.fuzz.target import Check, Target, check_reply
from worker.http.app import build_app
from worker.http.door import Door

_PATHS = ("/v1/embed/image", "/v1/embed/image-batch", "/v1/embed/text", "/v1/embeddings")


@dataclass
class Exchange:
    """One request to the ASGI application, and what it answers."""

    path: str
    body: bytes
    headers: list[tuple[bytes, bytes]]
    status: int = 0
    answer: bytes = b""
    answer_headers: dict[bytes, bytes] = field(default_factory=dict)

    async def run(self, app: Starlette) -> None:
        waiting = [{"type": "http.request", "body": self.body, "more_body": False}]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": self.headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }

        async def receive() -> MutableMapping[str, Any]:
            if waiting:
                return waiting.pop()
            await asyncio.Event().wait()  # the caller stays
            raise AssertionError

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.answer_headers = dict(message["headers"])
            else:
                self.answer += message["body"]

        await app(scope, receive, send)

    def check(self) -> None:
        assert self.status != 500, self.answer
        assert 200 <= self.status < 600
        assert self.answer_headers[b"content-type"] == b"application/json"
        reply = json.loads(self.answer)
        if self.path == "/v1/embeddings" and "error" in reply:
            failure = reply["error"]
            assert failure["code"] in WIRE_ERRORS
            reply = {"error": failure["message"], "code": failure["code"]}
        check_reply(reply)


@contextmanager
def _open(model: Path, _work: Path) -> Iterator[Check]:
    with asyncio.Runner() as runner:
        logged = serving.Logged()
        encoder = serving.open_tiny(model)

        async def start(environment: dict[str, str]) -> Door:
            door = Door(serving.new_settings(environment))
            door.open(serving.new_service(encoder, door.settings, door.metrics))
            return door

        doors = [runner.run(start(environment)) for environment in (serving.SIGNED, serving.UNSIGNED)]
        apps = [build_app(door, version="0") for door in doors]

        def check(data: bytes) -> None:
            for request, app in _requests(data, apps):
                runner.run(request.run(app))
                if not (request.status == 500 and _is_black(request)):
                    request.check()
            logged.check()

        yield check
        for door in doors:
            runner.run(door.close())


def _is_black(request: Exchange) -> bool:
    """Whether the miniature model gave a zero vector, which is a failure of inference on purpose."""
    return b"The vector is not finite or zero" in request.answer


def _requests(data: bytes, apps: Sequence[Starlette]) -> Iterator[tuple[Exchange, Starlette]]:
    """The same bytes as a body everywhere, as a signed payload, and as headers."""
    strict, open_to_all = apps
    kind = (b"content-type", b"application/json")
    key = (b"authorization", b"Bearer " + serving.KEY.encode())
    for path in _PATHS:
        yield Exchange(path, data, [kind, key]), open_to_all
    yield Exchange(_PATHS[0], data, [kind]), strict
    text = data.decode(errors="replace")
    payload = serving.addressed(text) if text.lstrip().startswith("{") else text
    signed = json.dumps({"payload": payload, "auth": sign_v2(payload, secret=serving.SECRET)}).encode()
    for path in _PATHS[:3]:
        yield Exchange(path, signed, [kind]), strict
    header = data.replace(b"\r", b"").replace(b"\n", b"").replace(b"\x00", b"")[:200]
    yield Exchange(_PATHS[3], b"{}", [kind, (b"authorization", header)]), strict
    yield Exchange(_PATHS[3], b"{}", [(b"content-type", header), key]), strict


def seeds() -> Sequence[bytes]:
    """The queue's bodies, OpenAI's, and headers."""
    image = "data:image/png;base64," + base64.b64encode(fuzz_handler.picture()).decode()
    url = "https://example.com/a.jpg"
    bodies: list[object] = [
        {"input": "a", "model": "tiny", "encoding_format": "base64", "dimensions": 5, "user": "u"},
        {"input": ["a", {"text": "b"}, {"image": image}, {"image": url}]},
        {"input": [image, url], "modality": "image"},
        {"input": [[1, 2], 3]},
        {"items": [{"text": "a"}]},
        {"items": [{"image_base64": image.partition(",")[2]}]},
    ]
    headers = [b"Bearer x", b"bearer", b"application/json; charset=utf-8", b"application/json;charset=latin-1", b"\xff"]
    return [*fuzz_handler.seeds(), *(json.dumps(body).encode() for body in bodies), *headers]


TARGET = Target(_open, seeds, json=True, runs=800)
