"""An HTTP endpoint played inside the test, whose vectors tell the URLs apart, and what a bulk run left behind."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from aiohttp import web

from heimdex_clip import contract
from heimdex_clip.contract import Embedding

SECRET = "bulk-secret-0123456789"
DIGEST = "0123456789abcdef"


@dataclass
class Endpoint:
    """Answers batches. A URL is ``.../{n}`` for a vector that starts with n, or ``.../{n}/{what goes wrong}``."""

    digest: str = DIGEST
    dim: int = 4
    status: int = 200
    hold: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    asked: Counter[str] = field(default_factory=Counter)
    largest: int = 0
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""

    def environ(self, **more: str) -> dict[str, str]:
        return {
            "CLIP_INFERENCE_BACKEND": "http",
            "CLIP_HTTP_URL": self.url,
            "EMBEDDING_HMAC_SECRET": SECRET,
            **more,
        }

    async def answer(self, request: web.Request) -> web.Response:
        if self.status != 200:
            reply = {"error": "Authentication failed", "code": "AUTH_FAILED", "retryable": False}
            return web.json_response(reply if self.status == 401 else {}, status=self.status)
        items = json.loads(json.loads(await request.read())["payload"])["items"]
        self.largest = max(self.largest, len(items))
        self.at_once += len(items)
        self.reached.set()
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
            self.asked.update(item["image_url"] for item in items)
            results = [self._one(item["image_url"], item["request_id"]) for item in items]
        finally:
            self.at_once -= len(items)
        if any(item["image_url"].endswith("/poison") for item in items):
            results = []
        return web.json_response({"results": results})

    def _one(self, url: str, request_id: str) -> dict[str, object]:
        _, _, path = url.partition("://images/")
        number, _, what = path.partition("/")
        if what == "gone" or (what == "flaky" and self.asked[url] < 3):
            return {"error": "no", "code": "DOWNLOAD_FAILED", "retryable": what == "flaky", "request_id": request_id}
        vector = (float(number), *[0.5] * (self.dim - 1))
        digest = what.removeprefix("digest-") if what.startswith("digest-") else self.digest
        found = Embedding(request_id, vector, self.dim, "ViT-B-32", "openai", True, digest, "cpu", {})
        return contract.embedding_reply(found, "base64")


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(**settings)
    app = web.Application()
    app.router.add_post("/v1/embed/image-batch", endpoint.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


def write_csv(path: Path, urls: Sequence[str]) -> Path:
    path.write_text("id,url\n" + "".join(f"row-{n},{url}\n" for n, url in enumerate(urls)))
    return path


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Every row of every part, in order; the parts' names must leave no gap."""
    names = sorted(path.name for path in out.glob("part-*"))
    assert names == [f"part-{number:06d}.parquet" for number in range(len(names))]
    return [row for name in names for row in pq.read_table(out / name).to_pylist()]
