"""GET /: a page to try the model with, for the person at this machine only."""

from __future__ import annotations

import ipaddress
import re
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from heimdex_clip.contract import error_reply
from heimdex_clip.errors import AuthFailed, InvalidRequest
from worker.http.operations import Operation
from worker.http.pages import read_page
from worker.http.replies import reply_response
from worker.settings import Settings

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?", re.IGNORECASE)
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def operations(settings: Settings) -> list[Operation]:
    """The page's route, none unless PLAYGROUND=1."""
    if not settings.playground:
        return []
    page = read_page("playground.html")

    async def playground(request: Request) -> Response:
        if not _from_this_machine(request):
            return reply_response(error_reply(InvalidRequest("No such route"), None), HTTPStatus.NOT_FOUND)
        if not settings.api_keys and not settings.allow_insecure_auth:
            reason = "The playground needs EMBEDDING_API_KEYS or ALLOW_INSECURE_AUTH=1 on the server"
            return reply_response(error_reply(AuthFailed(reason), None), HTTPStatus.FORBIDDEN)
        return HTMLResponse(page.html, headers=page.headers)

    return [Operation("GET", "/", playground, "A page to try the model with", answers={200: "An HTML page."})]


def _from_this_machine(request: Request) -> bool:
    """A loopback client that names a loopback host. The name keeps out pages whose own name was rebound to
    127.0.0.1, the absence of proxies' headers those who come through one on this machine.
    """
    client = request.client.host if request.client else ""
    host = _HOST.fullmatch(request.headers.get("host", ""))
    return (
        _is_loopback(client)
        and host is not None
        and (host[1].lower() == "localhost" or _is_loopback(host[1].strip("[]")))
        and not any(name in request.headers for name in _FORWARDED)
    )


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
