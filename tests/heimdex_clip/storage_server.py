"""Supabase's storage on loopback, as far as its official client speaks to it here."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

KEY = "service-role-KEY-that-must-not-show"
BUCKET = "clip-smoke"


@dataclass
class StorageServer:
    """Objects by path in one bucket. `refuse` answers the routes it names ("put", "sign", "remove") with HTTP 500."""

    objects: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    _tokens: dict[str, str] = field(default_factory=dict)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[StorageServer]:
        app = web.Application()
        base = "/storage/v1/object"
        app.router.add_post(f"{base}/sign/{{bucket}}/{{path}}", self._sign)
        app.router.add_get(f"{base}/sign/{{bucket}}/{{path}}", self._get)
        app.router.add_post(f"{base}/{{bucket}}/{{path}}", self._put)
        app.router.add_delete(f"{base}/{{bucket}}", self._remove)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    def _check(self, request: web.Request, call: str) -> web.Response | None:
        self.calls.append(call)
        if call in self.refuse:
            return web.Response(status=500, text="<html>not the API</html>")
        if request.headers.get("Authorization") != f"Bearer {KEY}" or request.headers.get("apikey") != KEY:
            return _error(403, "Unauthorized", "Invalid Compact JWS")
        if request.match_info["bucket"] != BUCKET:
            return _error(404, "Bucket not found", "Bucket not found")
        return None

    async def _put(self, request: web.Request) -> web.Response:
        if refusal := self._check(request, "put"):
            return refusal
        form = await request.post()
        (file,) = [part for part in form.values() if isinstance(part, web.FileField)]
        assert file.content_type == "image/png"
        path = request.match_info["path"]
        self.objects[path] = file.file.read()
        file.file.close()
        return web.json_response({"Id": "1", "Key": f"{BUCKET}/{path}"})

    async def _sign(self, request: web.Request) -> web.Response:
        if refusal := self._check(request, "sign"):
            return refusal
        path, token = request.match_info["path"], secrets.token_hex(8)
        self._tokens[token] = path
        return web.json_response({"signedURL": f"/object/sign/{BUCKET}/{path}?token={token}"})

    async def _get(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        if self._tokens.get(request.query.get("token", "")) != path or path not in self.objects:
            return _error(400, "InvalidJWT", "invalid token")
        return web.Response(body=self.objects[path], content_type="image/png")

    async def _remove(self, request: web.Request) -> web.Response:
        if refusal := self._check(request, "remove"):
            return refusal
        paths = (await request.json())["prefixes"]
        gone = [{"name": path} for path in paths if self.objects.pop(path, None) is not None]
        return web.json_response(gone)


def _error(status: int, error: str, message: str) -> web.Response:
    return web.json_response({"statusCode": str(status), "error": error, "message": message}, status=400)
