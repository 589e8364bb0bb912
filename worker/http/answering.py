"""The one way of every request to embed: allow, read, serve, count, reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from heimdex_clip.contract import error_reply
from heimdex_clip.errors import ClipError
from worker.http.door import Door
from worker.http.replies import STATUS, Refusal, code_of, reply_response, status_of
from worker.service import EmbeddingService, Reply

Serve = Callable[[EmbeddingService, object], Coroutine[object, object, Reply]]
Form = Callable[[Reply, HTTPStatus], Response]


def _anybody(_: Request) -> None:
    return None


def answering(
    door: Door, path: str, serve: Serve, *, allow: Callable[[Request], None] = _anybody, form: Form = reply_response
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint. `serve` makes a reply of the contract out of the body, `form` an HTTP response out of that;
    `allow` may turn the caller away before the body is read. Both of the first may raise ClipError.
    """

    async def endpoint(request: Request) -> Response:
        try:
            allow(request)
            service = door.service
            async with door.bodies.json(request) as body:
                reply = await door.unless_gone(request, serve(service, body))
            status = status_of(reply)
        except Refusal as refusal:
            reply, status = error_reply(refusal.error, None), refusal.status
        except ClipError as error:
            reply, status = error_reply(error, None), STATUS[error.code]
        door.metrics.request(path, status, code_of(reply))
        return form(reply, status)

    return endpoint
