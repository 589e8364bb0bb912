"""Where the worker may download from: the rule for URLs, before the rule for addresses. Pure, no look-ups.

A name's address is not known here, and may change between two look-ups; so `refusal` is asked again with the
final address of every connection (see `worker.download`). `check_url` only stops early what can never be right.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urljoin

from yarl import URL

from heimdex_clip.addresses import Network, canonical, listed, refusal
from heimdex_clip.errors import UrlRefused

_FORM = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?:#.*)?", re.DOTALL)
_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
# What the URL standard calls "ends in a number": resolvers read such hosts as an address in some old notation.
_NUMERIC = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?", re.ASCII)
_MAX_NAME_CHARS = 253
_HOSTS_KEPT = 256  # images often lie on few hosts
_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL_CHARS = "!#$%&'()*+,/:;=?@[]~-._"
"""Sent as they stand; anything else is percent-encoded."""


def check_url(
    url: str,
    *,
    allowed_ports: Collection[int],
    allowed_private: Collection[Network],
    allowed_hosts: Collection[str] = (),
) -> URL:
    """The URL to request, its host in ASCII and lower case, its fragment dropped.

    Path and query are sent as they are written, since many stores sign them: only characters that no URL may
    hold are percent-encoded. `allowed_hosts` are what `parse_host` gave; none allow every host.

    Raises UrlRefused for anything but http or https, a port or a host that is not allowed, user information, a
    missing or malformed host, and an IP address that is refused or not in its canonical notation.
    """
    form = _FORM.fullmatch(_printable(url))
    if form is None:
        raise UrlRefused("The image URL must begin with http:// or https:// and a host")
    scheme, authority = form["scheme"].lower(), form["authority"]
    if scheme not in _DEFAULT_PORTS:
        raise UrlRefused("The image URL's scheme must be http or https")
    if "@" in authority:
        raise UrlRefused("The image URL must not hold a user name or password")
    place = _PORT.fullmatch(authority)
    if place is None:
        raise UrlRefused("The image URL's host or port is malformed")
    port = int(place["port"] or _DEFAULT_PORTS[scheme])
    if port not in allowed_ports:
        allowed = ", ".join(str(number) for number in sorted(allowed_ports))
        raise UrlRefused(f"The image URL's port is not allowed; these are: {allowed}")
    host = _check_host(place["host"], tuple(allowed_private))
    if allowed_hosts and not listed(host, allowed_hosts):
        raise UrlRefused("The image URL's host is not among those that this worker downloads from")
    suffix = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    slash = "" if form["rest"].startswith("/") else "/"
    return URL(f"{scheme}://{host}{suffix}{slash}{quote(form['rest'], safe=_URL_CHARS)}", encoded=True)


def follow(
    current: URL,
    location: str,
    *,
    allowed_ports: Collection[int],
    allowed_private: Collection[Network],
    allowed_hosts: Collection[str] = (),
) -> URL:
    """The URL that a redirect from `current` leads to, by the rule of `check_url`.

    Raises UrlRefused, also where a redirect would leave https for http.
    """
    try:
        joined = urljoin(str(current), _printable(location))
    except ValueError:
        raise UrlRefused("The image URL redirects to a malformed URL") from None
    target = check_url(
        joined, allowed_ports=allowed_ports, allowed_private=allowed_private, allowed_hosts=allowed_hosts
    )
    if current.scheme == "https" and target.scheme == "http":
        raise UrlRefused("The image URL redirects from https to http")
    return target


def host_of(url: str) -> str:
    """A URL's host as a key to count by, "" where there is none; says nothing of whether the URL is allowed."""
    form = _FORM.fullmatch(url)
    place = _PORT.fullmatch(form["authority"]) if form else None
    return place["host"].lower().removesuffix(".") if place else ""


def parse_host(text: str) -> str:
    """One host of ALLOWED_IMAGE_HOSTS as `check_url` compares it: a name, which also stands for those below it, in
    ASCII and lower case without a dot at its end, or an IP address, which stands for itself.

    Raises ValueError for anything else: a wildcard, a port, a URL, a network, an address in an odd notation.
    """
    try:
        return canonical(text)
    except ValueError:
        name = _ascii_name(text)
    if _NUMERIC.fullmatch(name):
        raise ValueError(f"{text!r} is an IP address in an odd notation")
    return name.removesuffix(".")


def _printable(url: str) -> str:
    """Refuse what parsers disagree about: control characters and blanks are dropped by some, others read \\ as /."""
    if any(char <= "\x1f" or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff" or char == "\\" for char in url):
        raise UrlRefused("The image URL holds a backslash, a control character or half of a surrogate pair")
    if url != url.strip():
        raise UrlRefused("The image URL begins or ends with a blank")
    return url


@lru_cache(_HOSTS_KEPT)
def _check_host(host: str, allowed_private: tuple[Network, ...]) -> str:
    """The host in ASCII and lower case; brackets stay around an IPv6 address."""
    if host.startswith("["):
        _check_literal(host[1:-1], IPv6Address, allowed_private)
        return host.lower()
    try:
        name = _ascii_name(host)
    except ValueError:
        raise UrlRefused("The image URL's host is not a valid name") from None
    if _NUMERIC.fullmatch(name):
        _check_literal(name, IPv4Address, allowed_private)
    return name


def _ascii_name(host: str) -> str:
    """A host name in ASCII and lower case, a dot at its end kept. Raises ValueError where it is none."""
    # IDNA maps other scripts' digits and dots to ASCII, so what follows judges its result.
    name = URL.build(scheme="http", host=host.lower()).raw_host or ""
    if len(name) > _MAX_NAME_CHARS or not _NAME.fullmatch(name):
        raise ValueError("not a host name")
    return name


def _check_literal(
    text: str, kind: type[IPv4Address] | type[IPv6Address], allowed_private: Collection[Network]
) -> None:
    try:
        address = kind(text)
    except ValueError:
        raise UrlRefused("The image URL's host is not an IP address in its usual notation") from None
    reason = refusal(address, allowed_private)
    if reason is not None:
        raise UrlRefused(f"The image URL's host is not allowed: {reason}")
