"""Downloads: guarded against addresses inside, streamed, capped in bytes and in time.

Every connection's final address is checked where its socket is made: after the look-up, on each redirect, for
each address of a name. So a name that changes its address between two look-ups gains nothing, while TLS still
verifies the name itself.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Awaitable, Callable
from ssl import SSLContext
from types import TracebackType
from typing import NoReturn

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from heimdex_clip.addresses import refusal
from heimdex_clip.errors import ClipError, DownloadFailed, DownloadTimeout, ImageTooLarge, UrlRefused
from worker import addresses
from worker.policies import DownloadPolicy

Reserve = Callable[[int], Awaitable[None]]
_AddrInfo = tuple[int, int, int, str, tuple[object, ...]]

_REDIRECTS = (301, 302, 303, 307, 308)
_RETRYABLE_4XX = (408, 425, 429)
_COMPRESSED = ("gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress")
_HEADERS = {"Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity", "User-Agent": "heimdex-clip"}
_DNS_TRY_S = 2.0
_DNS_TRIES = 3
_MAX_ADDRESSES = 16


class Downloader:
    """Fetches URLs over connections that are kept for reuse. Create it inside the loop that it serves."""

    def __init__(
        self,
        policy: DownloadPolicy,
        *,
        resolver: AbstractResolver | None = None,
        ssl_context: SSLContext | None = None,
    ) -> None:
        """`resolver` (closed with this) and `ssl_context` replace the system's name servers and trusted roots."""
        self._policy = policy
        # c-ares: a look-up costs no thread and ends with its deadline. getaddrinfo would block one of the few
        # threads of the loop's executor, which a slow name server would so take from all jobs.
        self._resolver = _FewAddresses(resolver or aiohttp.AsyncResolver(timeout=_DNS_TRY_S, tries=_DNS_TRIES))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=policy.max_connections,
                limit_per_host=0,  # a job's images often lie on one host
                resolver=self._resolver,
                socket_factory=self._checked_socket,
                ssl=ssl_context or True,
            ),
            # One deadline for everything is set in `fetch`; aiohttp's own start anew with each redirect.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            auto_decompress=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Downloader:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; downloads still under way fail."""
        await self._session.close()
        await self._resolver.close()

    async def fetch(self, url: str, *, reserve: Reserve | None = None) -> bytes:
        """The body of an answer with status 200, at least one byte.

        `reserve` is awaited once, before the body is read, with the most bytes that will be held (besides the
        connection's own buffers, some hundred KiB): the announced length, or `max_bytes` where none is announced. Its
        wait does not count as the server's.

        Raises UrlRefused, DownloadTimeout, ImageTooLarge or DownloadFailed, whose messages hold nothing of the
        URL, and what `reserve` raises. Cancelling it closes the connection.
        """
        policy = self._policy
        target = addresses.check_url(
            url,
            allowed_ports=policy.allowed_ports,
            allowed_private=policy.allowed_private,
            allowed_hosts=policy.allowed_hosts,
        )
        try:
            async with asyncio.timeout(policy.timeout_s) as deadline:
                return await self._follow(target, deadline, reserve)
        except ClipError:
            raise
        except TimeoutError:
            raise DownloadTimeout(f"The image did not arrive within {policy.timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            _raise_failure(error)

    async def _follow(self, target: URL, deadline: asyncio.Timeout, reserve: Reserve | None) -> bytes:
        policy = self._policy
        # By hand: each hop's scheme, port, user information and host must hold as the first URL's did.
        for _ in range(policy.max_redirects + 1):
            async with self._session.get(target, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return await self._body(response, deadline, reserve)
                location = response.headers.get("Location", "")
            if not location:
                raise DownloadFailed("The image's server redirects to nowhere", retryable=False)
            target = addresses.follow(
                target,
                location,
                allowed_ports=policy.allowed_ports,
                allowed_private=policy.allowed_private,
                allowed_hosts=policy.allowed_hosts,
            )
        raise DownloadFailed(f"The image's server redirects more than {policy.max_redirects} times", retryable=False)

    async def _body(
        self, response: aiohttp.ClientResponse, deadline: asyncio.Timeout, reserve: Reserve | None
    ) -> bytes:
        _check_head(response)
        max_bytes = self._policy.max_bytes
        length = response.content_length
        if length is not None and length > max_bytes:
            raise ImageTooLarge(f"The image has {length} bytes; at most {max_bytes} are accepted")
        if reserve is not None:
            await _untimed(deadline, reserve(max_bytes if length is None else length))
        # BytesIO hands out what it holds without a copy, so the peak stays at the reserved bytes.
        body = io.BytesIO()
        async for chunk in response.content.iter_any():
            if body.tell() + len(chunk) > max_bytes:
                raise ImageTooLarge(f"The image has more than {max_bytes} bytes, which is the most accepted")
            body.write(chunk)
        if not body.tell():
            raise DownloadFailed("The image's server sent an empty body")
        return body.getvalue()

    def _checked_socket(self, info: _AddrInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        reason = refusal(str(address[0]), self._policy.allowed_private)
        if reason is not None:
            raise _AddressRefused(reason)
        return socket.socket(family, kind, protocol)


class _FewAddresses(AbstractResolver):
    """Another resolver's first addresses.

    The connector tries n addresses up to n * n / 2 times, and whoever owns a name decides on n.
    """

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return (await self._resolver.resolve(host, port, family))[:_MAX_ADDRESSES]

    async def close(self) -> None:
        await self._resolver.close()


class _AddressRefused(OSError):
    """As an OSError, so that the connector goes on to the name's next address."""

    def __init__(self, reason: str) -> None:
        # Not the reason: of several failures the connector passes on the first only where all read the same, and
        # else one that says no more than "multiple exceptions".
        super().__init__("an address that is not allowed")
        self.reason = reason


async def _untimed(deadline: asyncio.Timeout, waiting: Awaitable[None]) -> None:
    """Stop the deadline's clock for a wait of our own making."""
    loop = asyncio.get_running_loop()
    left_s = (deadline.when() or loop.time()) - loop.time()
    deadline.reschedule(None)
    await waiting
    deadline.reschedule(loop.time() + left_s)


def _check_head(response: aiohttp.ClientResponse) -> None:
    """Raise DownloadFailed unless the answer carries the image as it is."""
    status = response.status
    if status != 200:
        final = 200 <= status < 500 and status not in _RETRYABLE_4XX
        raise DownloadFailed(f"The image's server answered with status {status}", retryable=not final)
    codings = ",".join(response.headers.getall("Content-Encoding", [])).lower().split(",")
    # A compressed body could hide any size. Other words stand there by mistake ("utf-8", "aws-chunked").
    if any(coding.strip() in _COMPRESSED for coding in codings):
        raise DownloadFailed("The image's server compressed its answer, though asked not to", retryable=False)


def _raise_failure(error: Exception) -> NoReturn:
    """What went wrong below, as an error of ours. Theirs quote URLs and addresses, so none of their words are used."""
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(inner, _AddressRefused):
        raise UrlRefused(f"The image URL's host leads to an address that is not allowed: {inner.reason}") from None
    retryable = not isinstance(error, aiohttp.ClientConnectorCertificateError)
    message = next(message for kind, message in _FAILURES.items() if isinstance(error, kind))
    raise DownloadFailed(message, retryable=retryable) from None


_FAILURES: dict[type[Exception], str] = {
    aiohttp.ClientConnectorCertificateError: "The image's server has no valid certificate for its name",
    aiohttp.ClientConnectorSSLError: "The TLS handshake with the image's server failed",
    aiohttp.ClientConnectorDNSError: "The image's host name could not be looked up",
    aiohttp.ClientConnectorError: "The image's server could not be reached",
    aiohttp.ClientResponseError: "The image's server did not answer in proper HTTP",
    Exception: "The connection to the image's server broke off before the end of the image",
}
"""Most special first."""
