"""Downloads for the model in this process, guarded as the worker's are: the URLs come from strangers here too."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore

from heimdex_clip.addresses import Network, listed, refusal
from heimdex_clip.errors import ClipError, DownloadFailed, DownloadTimeout, ImageTooLarge, UrlRefused

_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class DownloadRules:
    """Where images may come from, how large they may be, and how long one may take, redirects included."""

    allowed_ports: frozenset[int] = frozenset({80, 443})
    allowed_private: tuple[Network, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    """As `addresses.listed` takes them; none allow every host."""
    max_bytes: int = 10 << 20
    timeout_s: float = 30.0


def download(url: str, rules: DownloadRules) -> bytes:
    """The image's bytes. Raises UrlRefused, DownloadFailed, DownloadTimeout or ImageTooLarge."""
    give_up_at = time.monotonic() + rules.timeout_s
    # A pool of its own: no environment proxy, and no connection outlives the address it was checked for.
    with httpcore.ConnectionPool(network_backend=_Guarded(rules.allowed_private)) as pool:
        for _ in range(_MAX_REDIRECTS + 1):
            found = _get(pool, _checked(url, rules), rules, give_up_at)
            if isinstance(found, bytes):
                return found
            url = _follow(url, found)
    raise DownloadFailed(f"The image's server redirects more than {_MAX_REDIRECTS} times", retryable=False)


def _get(pool: httpcore.ConnectionPool, url: str, rules: DownloadRules, give_up_at: float) -> bytes | str:
    """The body, or where a redirect leads to."""
    left_s = max(give_up_at - time.monotonic(), 0.001)
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), left_s)
    headers = [("Host", urlsplit(url).netloc), ("Accept-Encoding", "identity"), ("User-Agent", "heimdex-clip")]
    body = bytearray()
    try:
        with pool.stream("GET", url, headers=headers, extensions={"timeout": timeouts}) as response:
            if response.status in _REDIRECTS:
                return next(
                    (value.decode("latin-1") for name, value in response.headers if name.lower() == b"location"), ""
                )
            if response.status != 200:
                passing = response.status in _PASSING or response.status >= 500
                raise DownloadFailed(f"The image's server answered HTTP {response.status}", retryable=passing)
            for part in response.iter_stream():
                body += part
                if len(body) > rules.max_bytes:
                    raise ImageTooLarge(f"The image has more than {rules.max_bytes} bytes")
                if time.monotonic() > give_up_at:
                    raise DownloadTimeout("The image did not arrive in time")
    except ClipError:
        raise
    except httpcore.TimeoutException:
        raise DownloadTimeout("The image did not arrive in time") from None
    # httpcore's errors share no base with the name look-up's, and neither may reach a caller.
    except Exception as error:  # noqa: BLE001
        raise DownloadFailed(f"The image could not be downloaded ({type(error).__name__})") from None
    return bytes(body)


def _checked(url: str, rules: DownloadRules) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise UrlRefused("The image URL's host or port is malformed") from None
    if parts.scheme not in _PORTS or not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        raise UrlRefused("The image URL must be an http or https URL in ASCII")
    if parts.username is not None or parts.password is not None:
        raise UrlRefused("The image URL must not hold a user name or password")
    if port not in rules.allowed_ports:
        raise UrlRefused("The image URL's port is not allowed")
    if rules.allowed_hosts and not listed(parts.hostname, rules.allowed_hosts):
        raise UrlRefused("The image URL's host is not among those that images are downloaded from")
    return url.partition("#")[0]


def _follow(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
    except ValueError:
        raise UrlRefused("The image URL redirects to a malformed URL") from None
    if url.startswith("https:") and target.startswith("http:"):
        raise UrlRefused("The image URL redirects from https to http")
    return target


class _Guarded(httpcore.SyncBackend):
    """Connects only to addresses that hold the rule: whatever the name resolved to, that address is the one used."""

    def __init__(self, allowed_private: Collection[Network]) -> None:
        self._allowed_private = allowed_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise DownloadFailed("The image's server has no address") from None
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or any(refusal(address, self._allowed_private) for address in addresses):
            raise UrlRefused("The image URL's host is not allowed: not a public address")
        return super().connect_tcp(addresses[0], port, timeout, local_address, socket_options)
