"""Image servers that misbehave, through the whole service: a typed reply, a closed connection, bounded memory."""

from __future__ import annotations

import asyncio
import base64
import gzip
import tracemalloc
from pathlib import Path

import pytest

from tests.hostile.rig import serving
from tests.worker.loopback import Handler, Request, head
from tests.worker.test_service import picture

MIB = 1 << 20
HANG_S = 60.0
PNG = base64.b64decode(picture())


def sends(*parts: bytes) -> Handler:
    """Sends these bytes and then nothing, the connection open."""

    async def handler(request: Request) -> None:
        await request.send(*parts)

    return handler


def repeats(start: bytes, part: bytes, pause_s: float = 0.0) -> Handler:
    """Sends `part` for ever."""

    async def handler(request: Request) -> None:
        await request.send(start)
        while True:
            await request.send(part)
            await asyncio.sleep(pause_s)

    return handler


async def resets(request: Request) -> None:
    await request.send(head("Content-Length: 100"), PNG[:50])
    request.reset()


CHUNKED = head("Transfer-Encoding: chunked")
KEEPS_OPEN: dict[str, tuple[Handler, str]] = {
    "says nothing": (sends(), "DOWNLOAD_TIMEOUT"),
    "stalls within the headers": (sends(b"HTTP/1.1 200 OK\r\nContent-Le"), "DOWNLOAD_TIMEOUT"),
    "drips its headers": (repeats(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n", 0.02), "DOWNLOAD_TIMEOUT"),
    "stalls before the body": (sends(head("Content-Length: 100")), "DOWNLOAD_TIMEOUT"),
    "stalls within the body": (sends(head("Content-Length: 100"), PNG[:50]), "DOWNLOAD_TIMEOUT"),
    "drips its body": (repeats(head("Content-Length: 100000"), b"a", 0.02), "DOWNLOAD_TIMEOUT"),
    "drips chunks": (repeats(CHUNKED, b"1\r\na\r\n", 0.02), "DOWNLOAD_TIMEOUT"),
    "stalls within a chunk": (sends(CHUNKED, b"ff\r\nabc"), "DOWNLOAD_TIMEOUT"),
    "never ends a chunk's size": (sends(CHUNKED, b"1"), "DOWNLOAD_TIMEOUT"),
    "answers for the time being, for ever": (repeats(b"", head(status="102 Processing"), 0.01), "DOWNLOAD_TIMEOUT"),
    "announces too much": (sends(head(f"Content-Length: {MIB + 1}")), "IMAGE_TOO_LARGE"),
    "announces 2 to the 63": (sends(head(f"Content-Length: {1 << 63}")), "IMAGE_TOO_LARGE"),
    "announces less than nothing": (sends(head("Content-Length: -5"), PNG), "DOWNLOAD_FAILED"),
    "announces two lengths": (sends(head("Content-Length: 5", "Content-Length: 6"), PNG), "DOWNLOAD_FAILED"),
    "announces a length and chunks": (
        sends(head("Content-Length: 5", "Transfer-Encoding: chunked"), b"5\r\nabcde\r\n0\r\n\r\n"),
        "DOWNLOAD_FAILED",
    ),
    "sends no end": (repeats(head(), b"\xff" * 65536), "IMAGE_TOO_LARGE"),
    "sends no end, in chunks": (repeats(CHUNKED, b"10000\r\n" + b"\xff" * 65536 + b"\r\n"), "IMAGE_TOO_LARGE"),
    "sends one endless chunk": (repeats(CHUNKED, b"ffffffff\r\n" + b"\xff" * 65536), "IMAGE_TOO_LARGE"),
    "sends chunks of no number": (sends(CHUNKED, b"zz\r\nabc\r\n"), "DOWNLOAD_FAILED"),
    "sends chunks below zero": (sends(CHUNKED, b"-1\r\nabc\r\n"), "DOWNLOAD_FAILED"),
    "sends an endless chunk size": (repeats(CHUNKED, b"1" * 65536), "DOWNLOAD_FAILED"),
    "sends an endless chunk extension": (repeats(CHUNKED + b"1;", b"a" * 65536), "DOWNLOAD_TIMEOUT"),
    "sends an endless header": (repeats(b"HTTP/1.1 200 OK\r\nX: ", b"a" * 65536), "DOWNLOAD_FAILED"),
    "sends endless headers": (repeats(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n" * 1000), "DOWNLOAD_FAILED"),
    "sends an endless status": (repeats(b"HTTP/1.1 200 ", b"OK" * 1000), "DOWNLOAD_FAILED"),
    "is a gzip bomb": (
        sends(head("Content-Encoding: gzip", "Content-Length: 9999"), gzip.compress(bytes(8 * MIB))),
        "DOWNLOAD_FAILED",
    ),
    "is a gzip bomb in its coding of transfer": (
        sends(head("Transfer-Encoding: gzip, chunked"), b"5\r\nabcde\r\n"),
        "DOWNLOAD_TIMEOUT",
    ),
    "speaks another protocol": (sends(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "DOWNLOAD_FAILED"),
    "redirects to what is refused, and stalls": (
        sends(head("Location: http://169.254.169.254/latest/", "Content-Length: 99999999", status="302 Found")),
        "URL_REFUSED",
    ),
    "fails, and stalls": (sends(head("Content-Length: 99999999", status="500 Oh")), "DOWNLOAD_FAILED"),
}


@pytest.mark.parametrize(("handler", "code"), KEEPS_OPEN.values(), ids=KEEPS_OPEN)
async def test_a_server_that_holds_on_is_let_go(folder: Path, handler: Handler, code: str) -> None:
    """Typed reply, and the server sees its connection closed although it had more to say."""
    closed = asyncio.Event()

    async def watched(request: Request) -> None:
        try:
            await handler(request)
            await request.gone()
        finally:
            closed.set()

    timeout_s = 0.3 if code == "DOWNLOAD_TIMEOUT" else HANG_S
    limits = {"MAX_IMAGE_SIZE_BYTES": str(MIB), "IMAGE_DOWNLOAD_TIMEOUT": str(timeout_s)}
    async with asyncio.timeout(HANG_S), serving(folder, watched, **limits) as rig:
        reply = await rig.job()
        assert reply["code"] == code, reply
        await closed.wait()
        assert rig.service.admission.running == 0
        assert rig.service.pipeline._download_bytes.held == 0


CONTENT: dict[str, tuple[bytes, str, str]] = {
    "a web page": (b"<html><img src=a.png></html>", "text/html", "IMAGE_INVALID"),
    "a web page that says it is an image": (b"<!doctype html><html></html>", "image/jpeg", "IMAGE_INVALID"),
    "JSON": (b'{"error": "not found"}', "application/json", "IMAGE_INVALID"),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "IMAGE_INVALID"),
    "a PDF": (b"%PDF-1.7\n", "image/png", "IMAGE_INVALID"),
    "an archive": (b"PK\x03\x04" + bytes(100), "image/png", "IMAGE_INVALID"),
    "half an image": (PNG[: len(PNG) // 2], "image/png", "IMAGE_INVALID"),
    "an image that says it is a web page": (PNG, "text/html", "OK"),
    "an image that says nothing": (PNG, "", "OK"),
}


@pytest.mark.parametrize(("body", "kind", "code"), CONTENT.values(), ids=CONTENT)
async def test_the_bytes_decide_and_not_what_the_server_calls_them(
    folder: Path, body: bytes, kind: str, code: str
) -> None:
    headers = [f"Content-Type: {kind}"] if kind else []
    async with serving(folder, lambda request: request.answer(body, *headers)) as rig:
        assert (await rig.job()).get("code", "OK") == code


async def test_a_reset_within_the_body(folder: Path) -> None:
    async with serving(folder, resets) as rig:
        assert (await rig.job())["code"] == "DOWNLOAD_FAILED"


async def test_endless_bodies_of_many_jobs_stay_within_the_budget(folder: Path) -> None:
    """60 jobs that would take 4 MiB each, where 16 MiB are for downloads."""
    limits = {"MAX_IMAGE_SIZE_BYTES": str(4 * MIB), "MAX_INFLIGHT_BYTES": str(32 * MIB)}
    async with asyncio.timeout(HANG_S), serving(folder, repeats(head(), b"\xff" * 65536), **limits) as rig:
        tracemalloc.start()
        try:
            replies = await asyncio.gather(*(rig.job() for _ in range(60)))
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert {reply["code"] for reply in replies} == {"IMAGE_TOO_LARGE"}
    # Besides the budget, each connection's own buffers on both sides.
    assert peak_bytes < (16 + 60 * 0.75) * MIB
