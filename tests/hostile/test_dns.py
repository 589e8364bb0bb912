"""Names that lead inside, answered by a real DNS server to the worker's own resolver."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace

import pytest

from heimdex_clip.errors import ClipError, DownloadFailed, DownloadTimeout, UrlRefused
from tests.hostile.nameserver import (
    GARBAGE,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    SILENT,
    Answer,
    NameServer,
    name_server,
    resolver,
)
from tests.worker.loopback import Request, Server, serve
from tests.worker.test_addresses import REFUSED_ADDRESSES, REFUSED_URLS
from worker.download import Downloader
from worker.policies import DownloadPolicy

OUTSIDE = (ipaddress.ip_network("127.0.0.1/32"),)
"""The one address that plays the public internet; all else on loopback is inside."""
HANG_S = 30.0


def policy(*servers: Server, **changes: object) -> DownloadPolicy:
    standard = DownloadPolicy(
        max_bytes=1 << 20,
        timeout_s=HANG_S,
        allowed_ports=frozenset({80, *(server.port for server in servers)}),
        allowed_private=OUTSIDE,
        max_connections=64,
    )
    return replace(standard, **changes)  # type: ignore[arg-type]


async def outcome(rules: DownloadPolicy, names: NameServer, url: str, **limits: float) -> bytes | ClipError:
    async with asyncio.timeout(HANG_S), Downloader(rules, resolver=resolver(names, **limits)) as downloader:  # type: ignore[arg-type]
        try:
            return await downloader.fetch(url)
        except ClipError as error:
            return error


async def inside(request: Request) -> None:
    await request.answer(b"inside")


def _canonical(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4 or "%" not in text
    except ValueError:
        return False


@pytest.mark.parametrize("address", [text for text in REFUSED_ADDRESSES if _canonical(text)])
async def test_a_name_with_a_refused_address(address: str) -> None:
    async with serve(inside) as server, name_server(images_test=[[address]]) as names:
        found = await outcome(policy(server, allowed_private=()), names, server.url(host="images.test"))
        assert isinstance(found, UrlRefused), found
        assert address not in found.message
        assert server.connections == 0
        assert names.queries["images.test", "A"] == 1


@pytest.mark.parametrize("url", REFUSED_URLS)
async def test_a_refused_url_is_not_even_looked_up(url: str) -> None:
    async with name_server() as names:
        assert isinstance(await outcome(policy(allowed_private=()), names, url), UrlRefused)
        assert not names.queries


LEADS_INSIDE: dict[str, dict[str, list[Answer]]] = {
    "an alias of a private address": {"images_test": [["inside.test"]], "inside_test": [["127.0.0.2"]]},
    "an alias of an alias": {
        "images_test": [["a.test"]],
        "a_test": [["inside.test"]],
        "inside_test": [["10.0.0.1", "::1"]],
    },
    "both kinds of address": {"images_test": [["127.0.0.2", "::ffff:127.0.0.2"]]},
    "many private addresses": {"images_test": [[f"10.0.0.{i}" for i in range(1, 40)]]},
    "a private address first and a mapped one last": {"images_test": [["10.0.0.1", "::ffff:10.0.0.2", "fd00::1"]]},
    "metadata in every notation": {
        "images_test": [["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"]]
    },
}


@pytest.mark.parametrize("zone", LEADS_INSIDE.values(), ids=LEADS_INSIDE)
async def test_a_name_that_leads_nowhere_but_inside(zone: dict[str, list[Answer]]) -> None:
    async with serve(inside) as server, name_server(**zone) as names:
        found = await outcome(policy(server), names, server.url(host="images.test"))
        assert isinstance(found, UrlRefused), found
        assert server.connections == 0


@pytest.mark.parametrize("answer", [["10.0.0.1", "127.0.0.1"], ["fd00::1", "127.0.0.1", "127.0.0.2"]])
async def test_of_mixed_answers_only_the_public_one_is_used(answer: list[str]) -> None:
    async with (
        serve(lambda request: request.answer(b"abc")) as server,
        name_server(images_test=[answer]) as names,
    ):
        assert await outcome(policy(server), names, server.url(host="images.test")) == b"abc"


async def test_an_answer_that_flips_after_the_look_up_gains_nothing() -> None:
    """What was looked up is what is connected to: there is no second look-up to flip."""
    async with (
        serve(lambda request: request.answer(b"abc")) as server,
        name_server(images_test=[["127.0.0.1"], ["127.0.0.2"]]) as names,
    ):
        assert await outcome(policy(server), names, server.url(host="images.test")) == b"abc"
        assert names.queries["images.test", "A"] == 1


async def test_an_answer_that_flips_before_the_next_connection_is_refused() -> None:
    async with (
        serve(lambda request: request.answer(b"abc")) as outside,
        serve(inside) as within,
        name_server(images_test=[["127.0.0.1"], ["127.0.0.2"]]) as names,
        Downloader(policy(outside, within), resolver=resolver(names)) as downloader,
    ):
        assert await downloader.fetch(outside.url(host="images.test")) == b"abc"
        with pytest.raises(UrlRefused):
            await downloader.fetch(within.url(host="images.test"))
        assert names.queries["images.test", "A"] == 2
        assert within.connections == 0


async def test_an_answer_that_flips_between_two_redirects_is_refused() -> None:
    async def away(request: Request) -> None:
        await request.answer(b"", f"Location: {within.url(host='images.test')}", status="302 Found")

    async with (
        serve(inside) as within,
        serve(away) as outside,
        name_server(images_test=[["127.0.0.1"], ["::ffff:127.0.0.2", "127.0.0.2"]]) as names,
    ):
        found = await outcome(policy(outside, within), names, outside.url(host="images.test"))
        assert isinstance(found, UrlRefused), found
        assert (len(outside.requests), within.connections) == (1, 0)


BROKEN: dict[str, tuple[Answer, type[ClipError]]] = {
    "no such name": ([NXDOMAIN], DownloadFailed),
    "a failing server": ([SERVFAIL], DownloadFailed),
    "a refusing server": ([REFUSED], DownloadFailed),
    "no address": ([], DownloadFailed),
    "an alias of itself": (["images.test"], DownloadFailed),
    "an alias of nothing": (["nowhere.test"], DownloadFailed),
    "garbage": ([GARBAGE], DownloadFailed),
    "silence": ([SILENT], DownloadFailed),
}


@pytest.mark.parametrize(("answer", "kind"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_answer_is_a_failed_download(answer: Answer, kind: type[ClipError]) -> None:
    async with serve(inside) as server, name_server(images_test=[answer]) as names:
        found = await outcome(policy(server), names, server.url(host="images.test"), try_s=0.2)
        assert isinstance(found, kind), found
        assert found.retryable
        assert server.connections == 0


async def test_a_silent_name_server_ends_with_the_deadline() -> None:
    async with name_server(images_test=[[SILENT]]) as names:
        found = await outcome(policy(timeout_s=0.2), names, "http://images.test/", try_s=30)
        assert isinstance(found, DownloadTimeout), found
