"""Good, bad and hostile jobs, each with the codes that it may end in; and the server of their pictures."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from aiohttp import web
from PIL import Image

from heimdex_clip.encoder.preprocess import FORMATS
from heimdex_clip.signing import sign_v1, sign_v2
from tests.e2e.rig import SECRET

MAX_BYTES = 262144
DOWNLOAD_TIMEOUT_S = 5.0  # this process may be slow to serve on a busy machine
_SIZES = ((33, 50), (320, 240), (241, 240), (640, 427), (900, 600), (1, 300))


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job. `make` gives the input of the n-th; `codes` are what it may end in, "OK" for a vector."""

    name: str
    share: int
    codes: frozenset[str]
    make: Callable[[int], object]


def pictures() -> dict[str, bytes]:
    """By file name: many sizes and formats, smooth noise."""
    found = {}
    for number, size in enumerate(_SIZES):
        noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        for form in ("JPEG", "PNG", "WEBP", "GIF"):
            file = io.BytesIO()
            image.save(file, form)
            if file.tell() <= MAX_BYTES:
                found[f"{number}.{form.lower()}"] = file.getvalue()
    return found


def _bomb() -> bytes:
    """A PNG of 20,000 x 20,000 pixels in its header, and hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = (20_000).to_bytes(4, "big")
    header = chunk(b"IHDR", side + side + b"\x08\x02\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9000))) + chunk(b"IEND", b"")


class Pictures:
    """The server of all of them, good and hostile, on a free loopback port."""

    def __init__(self) -> None:
        self.files = pictures()
        self._hostile = {"truncated": self.files["3.jpeg"][:-400], "bomb": _bomb(), "text": b"no picture at all"}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        app = web.Application()
        app.router.add_get("/{name}", self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if found := self.files.get(name) or self._hostile.get(name):
            return web.Response(body=found)
        if name == "stalled":
            await asyncio.sleep(30)
        if name == "packed":
            return web.Response(body=self.files["1.jpeg"], headers={"Content-Encoding": "gzip"})
        if name == "oversize":
            return web.Response(body=bytes(MAX_BYTES + 1))
        if name == "inward":
            raise web.HTTPFound("http://169.254.169.254/latest/meta-data/")
        if name in ("drip", "reset", "endless"):
            return await self._badly(request, name)
        return web.Response(status=404)

    async def _badly(self, request: web.Request, name: str) -> web.StreamResponse:
        response = web.StreamResponse()
        if name != "endless":
            response.content_length = 100_000
        await response.prepare(request)
        for _ in range(400):
            await response.write(bytes(65536) if name == "endless" else b"\xff")
            if name == "reset" and request.transport is not None:
                request.transport.abort()
            await asyncio.sleep(0 if name == "endless" else 0.05)
        return response


class Traffic:
    """Draws kinds by their shares. `port` is the pictures', `audience` the endpoint's id."""

    def __init__(self, port: int, audience: str, files: Mapping[str, bytes], *, seed: int = 0) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._audience = audience
        self._files = files
        self._good = sorted(name for name in files if not name.endswith(".gif") or "GIF" in FORMATS)
        self._random = random.Random(seed)
        self.kinds = self._kinds()
        self._shares = [kind.share for kind in self.kinds]

    def draw(self) -> Kind:
        return self._random.choices(self.kinds, self._shares)[0]

    def _url(self, name: str, number: int) -> str:
        return f"{self._base}/{name}?{number}"

    def _picture(self, number: int) -> str:
        return self._url(self._good[number % len(self._good)], number)

    def _v1(self, url: str, **fields: object) -> dict[str, object]:
        return {"image_url": url, "auth": sign_v1(url, secret=SECRET), **fields}

    def _v2(self, *, exp_s: float = 300, secret: str = SECRET, **fields: object) -> dict[str, object]:
        claims = {"aud": self._audience, "exp": int(time.time() + exp_s), **fields}
        return self._signed(json.dumps(claims), secret)

    def _signed(self, text: str, secret: str = SECRET) -> dict[str, object]:
        return {"payload": text, "auth": sign_v2(text, secret=secret)}

    def _batch(self, number: int) -> dict[str, object]:
        items: list[dict[str, object]] = [{"image_url": self._picture(number + step)} for step in range(3)]
        return self._v2(items=[*items, {"text": f"word {number}"}, {"image_url": self._url("text", number)}])

    def _sent_along(self, number: int) -> dict[str, object]:
        data = self._files[self._good[number % len(self._good)]]
        return self._v2(image_base64=base64.b64encode(data).decode(), request_id=f"r-{number}")

    def _kinds(self) -> list[Kind]:
        def kind(name: str, share: int, codes: str, make: Callable[[int], object]) -> Kind:
            return Kind(name, share, frozenset(codes.split()), make)

        def fetched(name: str, share: int, codes: str) -> Kind:
            return kind(name, share, codes, lambda number: self._v2(image_url=self._url(name, number)))

        return [
            kind("v1", 150, "OK", lambda n: self._v1(self._picture(n), request_id=f"r-{n}")),
            kind("v2", 350, "OK", lambda n: self._v2(image_url=self._picture(n), request_id=f"r-{n}")),
            kind("sent along", 80, "OK", self._sent_along),
            kind("batch", 40, "OK", self._batch),
            kind("text", 100, "OK", lambda n: self._v2(text=f"a photo of {n} cats " * (n % 20 + 1))),
            kind("info", 10, "OK", lambda _: self._v2(op="info")),
            kind("bad signature", 30, "AUTH_FAILED", lambda n: self._v2(secret="another", image_url=self._picture(n))),
            kind("expired", 20, "AUTH_EXPIRED", lambda n: self._v2(exp_s=-5, image_url=self._picture(n))),
            kind("inside", 20, "URL_REFUSED", lambda n: self._v1(f"http://10.0.{n % 256}.1/a.jpg")),
            kind("no JSON", 20, "INVALID_REQUEST", lambda n: self._signed("{" * (n % 3000))),
            kind("no form", 20, "INVALID_REQUEST AUTH_FAILED", lambda n: [None, [], n, {"auth": n}, "x" * n][n % 5]),
            fetched("missing", 20, "DOWNLOAD_FAILED"),
            fetched("inward", 10, "URL_REFUSED"),
            fetched("packed", 10, "DOWNLOAD_FAILED"),
            fetched("reset", 10, "DOWNLOAD_FAILED"),
            fetched("truncated", 20, "IMAGE_INVALID"),
            fetched("text", 20, "IMAGE_INVALID"),
            fetched("bomb", 20, "IMAGE_TOO_LARGE"),
            fetched("oversize", 10, "IMAGE_TOO_LARGE"),
            fetched("endless", 5, "IMAGE_TOO_LARGE"),
            fetched("stalled", 5, "DOWNLOAD_TIMEOUT"),
            fetched("drip", 5, "DOWNLOAD_TIMEOUT"),
        ]
