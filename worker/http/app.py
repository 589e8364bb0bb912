"""The routes, put together."""

from __future__ import annotations

from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from heimdex_clip.contract import error_reply
from heimdex_clip.errors import Internal, InvalidRequest
from worker import log
from worker.http import apidocs, embed, embeddings, playground, probes
from worker.http.door import Door
from worker.http.replies import reply_response

_CLIENT_CLOSED_REQUEST = 499
_UNKNOWN = {HTTPStatus.NOT_FOUND: "No such route", HTTPStatus.METHOD_NOT_ALLOWED: "This route has no such method"}


def build_app(door: Door, *, version: str) -> Starlette:
    """The ASGI application before one door; `version` is for the OpenAPI document."""
    served = [*probes.operations(door), *embed.operations(door), embeddings.operation(door)]
    hidden = playground.operations(door.settings)
    routes = [one.route() for one in (*served, *apidocs.operations(served, version=version), *hidden)]
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _unknown, ClientDisconnect: _hung_up, Exception: _fault},
    )
    app.router.redirect_slashes = False
    return app


async def _unknown(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.BAD_REQUEST
    headers = error.headers if isinstance(error, HTTPException) else None
    reply = error_reply(InvalidRequest(_UNKNOWN.get(HTTPStatus(status), "Not a request this server knows")), None)
    response = reply_response(reply, HTTPStatus(status))
    response.headers.update(headers or {})
    return response


async def _hung_up(_: Request, __: Exception) -> Response:
    # Nobody reads it; the number is nginx's.
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _fault(_: Request, error: Exception) -> Response:
    log.warning("http_fault", cause=log.cause(error))
    return reply_response(error_reply(Internal("Internal error"), None))
