"""A web server of photographs on loopback, in a process of its own so that it shares nobody's GIL."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from bench import photos
from bench.errors import BenchError

Size = tuple[int, int]
_START_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Photos:
    """Where the photographs are: URLs by (width, height), every one a different picture; the server's pid."""

    port: int
    urls: Mapping[Size, tuple[str, ...]]
    pid: int


@asynccontextmanager
async def serving(sizes: Sequence[Size]) -> AsyncIterator[Photos]:
    """Serve photographs of these sizes until the block ends. Raises BenchError when it does not start."""
    arguments = [f"{width}x{height}" for width, height in sizes]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.imageserver",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            line = await process.stdout.readline()
        if not line:
            raise BenchError("the photograph server did not start")
        port = int(json.loads(line)["port"])
        urls = {
            size: tuple(f"http://127.0.0.1:{port}/{name}/{index}.jpg" for index in range(photos.COUNT))
            for size, name in zip(sizes, arguments, strict=True)
        }
        yield Photos(port, urls, process.pid)
    except TimeoutError:
        raise BenchError(f"the photograph server did not start within {_START_TIMEOUT_S} s") from None
    finally:
        process.stdin.close()
        await process.wait()


async def serve(sizes: Sequence[Size]) -> None:
    """Print ``{"port"}`` and serve ``/{width}x{height}/{index}.jpg`` until standard input closes."""
    files = {
        f"/{width}x{height}/{index}.jpg": data
        for width, height in sizes
        for index, data in enumerate(photos.jpegs(width, height))
    }

    async def photo(request: web.Request) -> web.Response:
        data = files.get(request.path)
        if data is None:
            raise web.HTTPNotFound
        return web.Response(body=data, content_type="image/jpeg")

    app = web.Application()
    app.router.add_get("/{size}/{name}", photo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    # The parent's end of the pipe closes however the parent ends, so this process never outlives it.
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def _size(text: str) -> Size:
    width, height = text.split("x")
    return int(width), int(height)


if __name__ == "__main__":
    asyncio.run(serve([_size(argument) for argument in sys.argv[1:]]))
