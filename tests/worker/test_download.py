"""Downloads from real servers on loopback: good ones, broken ones and hostile ones."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import socket
import tracemalloc
from contextlib import suppress
from dataclasses import replace

import pytest
from aiohttp.abc import ResolveResult

from heimdex_clip.errors import ClipError, DownloadFailed, DownloadTimeout, ImageTooLarge, Overloaded, UrlRefused
from tests.worker.loopback import Authority, Handler, Names, Request, Server, head, listen, serve
from worker.download import Downloader
from worker.policies import DownloadPolicy

LOOPBACK = (ipaddress.ip_network("127.0.0.1/32"),)
SECRET = "hunter2"  # in the query of each URL
HANG_S = 30.0  # only a test that hangs gets there
MIB = 1 << 20


def policy(*servers: Server, **changes: object) -> DownloadPolicy:
    standard = DownloadPolicy(
        max_bytes=MIB,
        timeout_s=HANG_S,
        allowed_ports=frozenset(server.port for server in servers),
        allowed_private=LOOPBACK,
        max_connections=64,
    )
    return replace(standard, **changes)  # type: ignore[arg-type]


async def fetch(rules: DownloadPolicy, url: str, **tools: object) -> bytes:
    async with asyncio.timeout(HANG_S), Downloader(rules, **tools) as downloader:  # type: ignore[arg-type]
        return await downloader.fetch(url)


async def failure(rules: DownloadPolicy, url: str, **tools: object) -> ClipError:
    """The error that a download must end with; its message tells nothing of the URL."""
    with pytest.raises(ClipError) as caught:
        await fetch(rules, url, **tools)
    error = caught.value
    assert SECRET not in error.message
    assert "127.0.0.1" not in error.message
    assert error.message.isascii()
    assert "\n" not in error.message
    return error


# ---- what arrives ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 65536, 65537, MIB])
async def test_a_body_with_its_length_arrives(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    async with serve(lambda request: request.answer(body[:size])) as server:
        assert await fetch(policy(server), server.url()) == body[:size]


async def test_a_chunked_body_and_one_that_ends_with_the_connection_arrive() -> None:
    async def handler(request: Request) -> None:
        if request.target == "/chunked":
            await request.send(head("Transfer-Encoding: chunked"), b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n")
        else:
            await request.send(head("Connection: close"), b"abc", b"de")
            request.writer.close()

    async with serve(handler) as server, Downloader(policy(server)) as downloader:
        assert await downloader.fetch(server.url("/chunked")) == b"abcde"
        assert await downloader.fetch(server.url("/close")) == b"abcde"


@pytest.mark.parametrize(
    "header",
    [
        "Content-Type: text/html",
        "Content-Type: ;;;",
        "X-Nothing: 1",
        "Content-Encoding: identity",
        "Content-Encoding: aws-chunked",
        "Content-Encoding: utf-8",
    ],
)
async def test_what_the_server_says_of_the_content_does_not_matter(header: str) -> None:
    async with serve(lambda request: request.answer(b"abc", header)) as server:
        assert await fetch(policy(server), server.url()) == b"abc"


async def test_the_request_is_plain_and_its_target_is_sent_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    async with (
        serve(lambda request: request.answer(b"abc", "Set-Cookie: a=b; Path=/")) as server,
        # By name: cookies of an address are not kept anyway.
        Downloader(policy(server), resolver=Names(images_test=[["127.0.0.1"]])) as downloader,
    ):
        for _ in range(2):
            await downloader.fetch(server.url("/http%3A%2F%2Fa?s=%2C%7E+x#fragment", host="images.test"))
    for request in server.requests:
        assert request.target == "/http%3A%2F%2Fa?s=%2C%7E+x"
        lines = request.head.lower().split("\r\n")
        assert "accept-encoding: identity" in lines
        assert not any(line.startswith(("cookie:", "authorization:", "referer:")) for line in lines)
    assert server.connections == 1  # kept for reuse


async def test_many_downloads_from_one_host_run_at_a_time() -> None:
    together = asyncio.Barrier(50)

    async def handler(request: Request) -> None:
        await together.wait()
        await request.answer(request.target.encode())

    async with serve(handler) as server, asyncio.timeout(HANG_S), Downloader(policy(server)) as downloader:
        bodies = await asyncio.gather(*(downloader.fetch(server.url(f"/{i}")) for i in range(50)))
    assert bodies == [f"/{i}".encode() for i in range(50)]


async def test_no_more_connections_than_allowed_are_open_at_once() -> None:
    running: list[int] = []
    peaks = []

    async def handler(request: Request) -> None:
        running.append(1)
        peaks.append(len(running))
        await asyncio.sleep(0.01)
        running.pop()
        await request.answer(b"abc")

    async with serve(handler) as server, Downloader(policy(server, max_connections=2)) as downloader:
        await asyncio.gather(*(downloader.fetch(server.url()) for _ in range(8)))
    assert max(peaks) == 2


# ---- what the server answers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (400, False),
        (401, False),
        (403, False),
        (404, False),
        (408, True),
        (410, False),
        (418, False),
        (425, True),
        (429, True),
        (500, True),
        (502, True),
        (503, True),
        (504, True),
        (201, False),
        (202, False),
        (206, False),
        (300, False),
        (304, False),
        (600, True),
    ],
)
async def test_only_status_200_carries_an_image(status: int, retryable: bool) -> None:
    async with serve(lambda request: request.answer(status=f"{status} Whatever {SECRET}")) as server:
        error = await failure(policy(server), server.url())
    assert isinstance(error, DownloadFailed)
    assert error.retryable is retryable
    assert str(status) in error.message


def raw(*parts: bytes, end: str = "close") -> Handler:
    """A server that sends these bytes and then closes, resets or stays silent."""

    async def handler(request: Request) -> None:
        await request.send(*parts)
        if end == "reset":
            request.reset()
        elif end == "close":
            request.writer.close()
        else:
            await request.gone()

    return handler


BROKEN: dict[str, tuple[Handler, type[ClipError], bool]] = {
    "empty body": (raw(head("Content-Length: 0")), DownloadFailed, True),
    "empty body, chunked": (raw(head("Transfer-Encoding: chunked"), b"0\r\n\r\n"), DownloadFailed, True),
    "empty body, no length": (raw(head()), DownloadFailed, True),
    "no answer": (raw(), DownloadFailed, True),
    "reset before the answer": (raw(end="reset"), DownloadFailed, True),
    "half a head": (raw(b"HTTP/1.1 200 OK\r\nContent-"), DownloadFailed, True),
    "body shorter than its length": (raw(head("Content-Length: 10"), b"abc"), DownloadFailed, True),
    "reset within the body": (raw(head("Content-Length: 10"), b"abc", end="reset"), DownloadFailed, True),
    "chunked body without end": (raw(head("Transfer-Encoding: chunked"), b"3\r\nabc\r\n"), DownloadFailed, True),
    "chunk size that is no number": (raw(head("Transfer-Encoding: chunked"), b"xyz\r\nabc\r\n"), DownloadFailed, True),
    "not HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), DownloadFailed, True),
    "length that is no number": (raw(head("Content-Length: abc"), b"abc"), DownloadFailed, True),
    "length below zero": (raw(head("Content-Length: -1"), b"abc"), DownloadFailed, True),
    "two lengths": (raw(head("Content-Length: 3", "Content-Length: 4"), b"abc"), DownloadFailed, True),
    "one huge header": (raw(head("X-Huge: " + "a" * 100_000)), DownloadFailed, True),
    "too many headers": (raw(head(*(f"X-{i}: 1" for i in range(10_000)))), DownloadFailed, True),
    "announced too large": (raw(head(f"Content-Length: {MIB + 1}"), end="silent"), ImageTooLarge, False),
    "length of 18 digits": (raw(head("Content-Length: " + "9" * 18), end="silent"), ImageTooLarge, False),
    "length of 99 digits": (raw(head("Content-Length: " + "9" * 99), end="silent"), DownloadFailed, True),
    "length and chunks": (
        raw(head("Content-Length: 3", "Transfer-Encoding: chunked") + b"5\r\nabcde\r\n0\r\n\r\n"),
        DownloadFailed,
        True,
    ),
    "gzip": (raw(head("Content-Encoding: gzip"), gzip.compress(b"\0" * MIB)), DownloadFailed, False),
    "gzip twice": (raw(head("Content-Encoding: GZIP, gzip"), b"abc"), DownloadFailed, False),
    "gzip on a second line": (
        raw(head("Content-Encoding: utf-8", "Content-Encoding: gzip"), b"a"),
        DownloadFailed,
        False,
    ),
    "brotli": (raw(head("Content-Encoding: br"), b"abc"), DownloadFailed, False),
}


@pytest.mark.parametrize(("handler", "kind", "retryable"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_answer_has_its_error(handler: Handler, kind: type[ClipError], retryable: bool) -> None:
    async with serve(handler) as server:
        error = await failure(policy(server), server.url())
    assert type(error) is kind
    assert error.retryable is retryable


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
async def test_never_more_is_taken_than_was_announced(pause_s: float) -> None:
    async def handler(request: Request) -> None:
        await request.send(head("Content-Length: 3"))
        await asyncio.sleep(pause_s)
        await request.send(b"abcdef")
        request.writer.close()

    # Depending on how the bytes arrive, the rest may count as a broken next answer.
    async with serve(handler) as server:
        with suppress(DownloadFailed):
            assert await fetch(policy(server), server.url()) == b"abc"


async def test_an_endless_body_ends_at_the_limit() -> None:
    async def handler(request: Request) -> None:
        await request.send(head())
        while True:
            await request.send(b"\xff" * 65536)

    async with serve(handler) as server:
        error = await failure(policy(server), server.url())
    assert isinstance(error, ImageTooLarge)


# ---- time --------------------------------------------------------------------------------------


async def drip(request: Request) -> None:
    await request.send(head("Content-Length: 1000"))
    while True:
        await request.send(b"a")
        await asyncio.sleep(0.02)


async def interim_answers(request: Request) -> None:
    while True:
        await request.send(head(status="102 Processing"))
        await asyncio.sleep(0.001)


async def slow_redirects(request: Request) -> None:
    await asyncio.sleep(0.2)
    await request.answer(b"", "Location: /again", status="302 Found")


SLOW: dict[str, Handler] = {
    "silent after accepting": raw(end="silent"),
    "stalls within the head": raw(b"HTTP/1.1 200 OK\r\nContent-", end="silent"),
    "stalls within the body": raw(head("Content-Length: 10"), b"abc", end="silent"),
    "drips its body": drip,
    "interim answers for ever": interim_answers,
    "slow redirects share one deadline": slow_redirects,
}


@pytest.mark.parametrize("handler", SLOW.values(), ids=SLOW)
async def test_one_deadline_covers_everything(handler: Handler) -> None:
    async with serve(handler) as server:
        error = await failure(policy(server, timeout_s=0.3), server.url())
    assert isinstance(error, DownloadTimeout)
    assert error.retryable


async def test_a_silent_name_server_is_within_the_deadline() -> None:
    class Silent(Names):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            await asyncio.Event().wait()
            raise AssertionError

    rules = policy(timeout_s=0.1, allowed_ports=frozenset({80}))
    assert isinstance(await failure(rules, "http://images.test/", resolver=Silent()), DownloadTimeout)


async def test_a_silent_tls_handshake_is_within_the_deadline() -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with listen(connected) as silent:
        error = await failure(policy(silent, timeout_s=0.2), silent.url(scheme="https"))
    assert isinstance(error, DownloadTimeout)


async def test_cancelling_closes_the_connection() -> None:
    sent, closed = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> None:
        await request.send(head("Content-Length: 10"), b"abc")
        sent.set()
        await request.gone()
        closed.set()

    async with serve(handler) as server, Downloader(policy(server)) as downloader:
        download = asyncio.create_task(downloader.fetch(server.url()))
        async with asyncio.timeout(HANG_S):
            await sent.wait()
            download.cancel()
            await closed.wait()
        with pytest.raises(asyncio.CancelledError):
            await download


# ---- room --------------------------------------------------------------------------------------


async def chunked_or_not(request: Request) -> None:
    if request.target == "/moved":
        await request.answer(b"not this", "Location: /length", status="302 Found")
    elif request.target == "/length":
        await request.answer(b"abc")
    elif request.target == "/chunked":
        await request.send(head("Transfer-Encoding: chunked"), b"3\r\nabc\r\n0\r\n\r\n")
    else:
        await request.answer(b"no", status="404 Not Found")


@pytest.mark.parametrize(("path", "reserved"), [("/length", [3]), ("/chunked", [MIB]), ("/moved", [3])])
async def test_room_is_reserved_once_for_what_was_announced(path: str, reserved: list[int]) -> None:
    asked: list[int] = []

    async def reserve(size: int) -> None:
        asked.append(size)

    async with serve(chunked_or_not) as server, Downloader(policy(server)) as downloader:
        assert await downloader.fetch(server.url(path), reserve=reserve) == b"abc"
        assert asked == reserved
        with pytest.raises(DownloadFailed):
            await downloader.fetch(server.url("/missing"), reserve=reserve)
    assert asked == reserved


async def test_waiting_for_room_does_not_count_as_the_servers_time() -> None:
    async def reserve(size: int) -> None:
        await asyncio.sleep(0.6)

    async with serve(chunked_or_not) as server, Downloader(policy(server, timeout_s=0.3)) as downloader:
        assert await downloader.fetch(server.url("/length"), reserve=reserve) == b"abc"


async def test_the_clock_goes_on_after_the_wait_for_room() -> None:
    async def reserve(size: int) -> None:
        await asyncio.sleep(0)

    async with serve(drip) as server, Downloader(policy(server, timeout_s=0.2)) as downloader:
        async with asyncio.timeout(HANG_S):
            with pytest.raises(DownloadTimeout):
                await downloader.fetch(server.url(), reserve=reserve)


async def test_a_refusal_of_room_passes_unchanged() -> None:
    async def reserve(size: int) -> None:
        raise Overloaded("no room")

    async with serve(chunked_or_not) as server, Downloader(policy(server)) as downloader:
        with pytest.raises(Overloaded, match="no room"):
            await downloader.fetch(server.url("/length"), reserve=reserve)


@pytest.mark.parametrize("announced", [True, False])
async def test_memory_stays_near_the_reserved_bytes(announced: bool) -> None:
    size, part = 32 * MIB, b"\xff" * 65536

    async def handler(request: Request) -> None:
        await request.send(head(f"Content-Length: {size}" if announced else "Connection: close"))
        for _ in range(size // len(part)):
            await request.send(part)
        request.writer.close()

    async with serve(handler) as server:
        tracemalloc.start()
        try:
            assert len(await fetch(policy(server, max_bytes=size), server.url())) == size
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 1.5 * size  # joining parts would take twice the size


# ---- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "64:ff9b::7f00:1", "::"]
)
async def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    async with serve(lambda request: request.answer(b"inside")) as server:
        names = Names(images_test=[[address]])
        error = await failure(policy(server, allowed_private=()), server.url(host="images.test"), resolver=names)
    assert isinstance(error, UrlRefused)
    assert address not in error.message
    assert server.connections == 0


async def test_the_system_s_own_name_for_loopback_is_refused() -> None:
    async with serve(lambda request: request.answer(b"inside")) as server:
        error = await failure(policy(server, allowed_private=()), server.url(host="localhost"))
    assert isinstance(error, UrlRefused)
    assert server.connections == 0


async def test_the_system_s_names_are_looked_up() -> None:
    async with serve(lambda request: request.answer(b"abc")) as server:
        both = (*LOOPBACK, ipaddress.ip_network("::1/128"))
        assert await fetch(policy(server, allowed_private=both), server.url(host="localhost")) == b"abc"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.1", "127。1"]
)
async def test_an_address_in_the_url_is_refused_in_every_spelling(host: str) -> None:
    async with serve(lambda request: request.answer(b"inside")) as server:
        error = await failure(policy(server, allowed_private=()), server.url(host=host))
    assert isinstance(error, UrlRefused)
    assert server.connections == 0


async def test_a_name_that_changes_its_address_is_judged_by_each_connection() -> None:
    async with (
        serve(lambda request: request.answer(b"abc")) as outside,
        serve(lambda request: request.answer(b"inside")) as inside,
    ):
        names = Names(images_test=[["127.0.0.1"], ["127.0.0.2"]])
        async with Downloader(policy(outside, inside), resolver=names) as downloader:
            assert await downloader.fetch(outside.url(host="images.test")) == b"abc"
            with pytest.raises(UrlRefused):
                await downloader.fetch(inside.url(host="images.test"))
    assert inside.connections == 0


async def test_the_allowed_address_of_a_name_is_used_and_the_refused_one_never() -> None:
    async with serve(lambda request: request.answer(b"abc")) as server:
        names = Names(images_test=[["127.0.0.2", "10.0.0.1", "127.0.0.1"]])
        assert await fetch(policy(server), server.url(host="images.test"), resolver=names) == b"abc"


async def test_only_the_first_addresses_of_a_name_are_tried() -> None:
    async with serve(lambda request: request.answer(b"abc")) as server:
        many = [f"10.0.{i // 256}.{i % 256}" for i in range(2000)]
        names = Names(images_test=[[*many, "127.0.0.1"]])
        error = await failure(policy(server), server.url(host="images.test"), resolver=names)
    assert isinstance(error, UrlRefused)


async def test_a_name_that_is_unknown_and_a_port_where_nobody_listens() -> None:
    async with serve(lambda request: request.answer(b"abc")) as server:
        pass
    error = await failure(policy(server), server.url(host="unknown.test"), resolver=Names())
    assert isinstance(error, DownloadFailed)
    assert error.retryable
    error = await failure(policy(server), server.url())
    assert isinstance(error, DownloadFailed)
    assert error.retryable


# ---- redirects ---------------------------------------------------------------------------------


def redirects(*locations: str) -> Handler:
    """Answers the n-th request with the n-th Location, then with an image."""
    left = list(locations)

    async def handler(request: Request) -> None:
        if left:
            await request.answer(b"moved", f"Location: {left.pop(0)}", status="302 Found")
        else:
            await request.answer(b"abc")

    return handler


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_every_kind_of_redirect_is_followed(status: int) -> None:
    async def handler(request: Request) -> None:
        if request.target == "/x/a.jpg":
            await request.answer(b"", "Location: ../b%2Fc.jpg?s=%2C", status=f"{status} Moved")
        else:
            await request.answer(request.target.encode())

    async with serve(handler) as server:
        assert await fetch(policy(server), server.url("/x/a.jpg")) == b"/b%2Fc.jpg?s=%2C"


async def test_three_redirects_are_followed_and_no_fourth() -> None:
    async with serve(redirects("/b", "/c", "/d")) as server:
        assert await fetch(policy(server), server.url()) == b"abc"
    async with serve(redirects("/b", "/c", "/d", "/e")) as server:
        error = await failure(policy(server), server.url())
    assert isinstance(error, DownloadFailed)
    assert not error.retryable
    assert len(server.requests) == 4


async def test_a_redirect_to_nowhere_ends_there() -> None:
    async with serve(raw(head("Content-Length: 0", status="302 Found"))) as server:
        error = await failure(policy(server), server.url())
    assert isinstance(error, DownloadFailed)
    assert not error.retryable
    assert len(server.requests) == 1


async def test_a_redirect_reaches_another_server_through_its_own_look_up() -> None:
    names = Names(images_test=[["127.0.0.1"]], store_test=[["127.0.0.1"]])
    async with (
        serve(lambda request: request.answer(b"abc")) as store,
        serve(redirects(store.url("/b", host="store.test"))) as server,
    ):
        url = server.url(host="images.test")
        assert await fetch(policy(server, store), url, resolver=names) == b"abc"
    assert names.lookups == ["images.test", "store.test"]


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1:{port}/",
        "http://169.254.169.254:{port}/latest/meta-data/",
        "http://[::1]:{port}/",
        "http://0x7f.1:{port}/",
        "http://inside.test:{port}/",
        "//inside.test:{port}/",
        "http://127.0.0.1:1/",
        "http://127.0.0.1/",
        "http://user:pass@127.0.0.1:{port}/",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "ftp://127.0.0.1:{port}/",
        "http:\\\\127.0.0.1:{port}/",
        "http://[::1",
        "\udcff\udcfe",
    ],
)
async def test_a_redirect_that_is_not_allowed_is_not_followed(location: str) -> None:
    names = Names(images_test=[["127.0.0.1"]], inside_test=[["127.0.0.2"]])

    async def handler(request: Request) -> None:
        await request.answer(b"", "Location: " + location.format(port=server.port), status="302 Found")

    async with serve(handler) as server:
        error = await failure(policy(server), server.url(host="images.test"), resolver=names)
    assert isinstance(error, UrlRefused)
    assert len(server.requests) == 1


async def test_only_listed_hosts_are_asked_and_redirects_lead_nowhere_else() -> None:
    names = Names(images_test=[["127.0.0.1"]], cdn_images_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    async with (
        serve(lambda request: request.answer(b"abc")) as server,
        serve(redirects(server.url("/b", host="other.test"))) as away,
    ):
        rules = policy(server, away, allowed_hosts=("images.test",))
        for host in ("images.test", "cdn.images.test"):
            assert await fetch(rules, server.url(host=host), resolver=names) == b"abc"
        for url in (server.url(host="other.test"), server.url(), away.url(host="images.test")):
            error = await failure(rules, url, resolver=names)
            assert isinstance(error, UrlRefused)
            assert "not among those" in error.message
    assert len(server.requests) == 2
    assert "other.test" not in names.lookups


# ---- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls"), "images.test")


async def test_tls_verifies_the_name_and_not_the_address(authority: Authority) -> None:
    names = Names(images_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    async with serve(lambda request: request.answer(b"abc"), tls=authority.server) as server:
        rules, tools = policy(server), {"resolver": names, "ssl_context": authority.client}
        assert await fetch(rules, server.url(host="images.test", scheme="https"), **tools) == b"abc"
        error = await failure(rules, server.url(host="other.test", scheme="https"), **tools)
    assert isinstance(error, DownloadFailed)
    assert not error.retryable
    assert len(server.requests) == 1


async def test_a_certificate_that_nobody_trusted_signed_is_refused_by_default(authority: Authority) -> None:
    names = Names(images_test=[["127.0.0.1"]])
    async with serve(lambda request: request.answer(b"abc"), tls=authority.server) as server:
        error = await failure(policy(server), server.url(host="images.test", scheme="https"), resolver=names)
    assert isinstance(error, DownloadFailed)
    assert not error.retryable
    assert not server.requests


async def test_a_server_that_does_not_speak_tls() -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(16)
        writer.write(head("Content-Length: 0", status="400 Bad Request"))
        await writer.drain()

    async with listen(connected) as plain:
        error = await failure(policy(plain), plain.url(scheme="https"))
    assert isinstance(error, DownloadFailed)


async def test_a_refused_address_stays_refused_behind_tls(authority: Authority) -> None:
    names = Names(images_test=[["127.0.0.1"]])
    async with serve(lambda request: request.answer(b"inside"), tls=authority.server) as server:
        rules, url = policy(server, allowed_private=()), server.url(host="images.test", scheme="https")
        error = await failure(rules, url, resolver=names, ssl_context=authority.client)
    assert isinstance(error, UrlRefused)
    assert server.connections == 0


async def test_a_redirect_from_https_to_http_is_refused(authority: Authority) -> None:
    names = Names(images_test=[["127.0.0.1"]])
    async with (
        serve(lambda request: request.answer(b"abc")) as plain,
        serve(redirects(plain.url(host="images.test")), tls=authority.server) as server,
    ):
        url = server.url(host="images.test", scheme="https")
        error = await failure(policy(server, plain), url, resolver=names, ssl_context=authority.client)
    assert isinstance(error, UrlRefused)
    assert plain.connections == 0
