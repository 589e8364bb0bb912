"""An image's URL: whatever is accepted satisfies the rule again when other parsers read it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from yarl import URL

from heimdex_clip.addresses import refusal
from heimdex_clip.errors import ClipError, UrlRefused
from tests.fuzz.target import Check, Target, check_error
from worker.addresses import check_url, follow

_PORTS = frozenset({80, 443, 8080})
_DEFAULT = {"http": 80, "https": 443}


@contextmanager
def _open(_model: Path, _work: Path) -> Iterator[Check]:
    start = URL("https://images.example/a/b.jpg?x=1")

    def check(data: bytes) -> None:
        text = data.decode(errors="surrogatepass") if _is_wtf8(data) else data.decode("latin-1")
        try:
            _check_accepted(check_url(text, allowed_ports=_PORTS, allowed_private=()))
        except ClipError as error:
            check_error(error, UrlRefused)
        try:
            target = follow(start, text, allowed_ports=_PORTS, allowed_private=())
        except ClipError as error:
            check_error(error, UrlRefused)
        else:
            _check_accepted(target)
            assert target.scheme == "https"

    yield check


def _is_wtf8(data: bytes) -> bool:
    try:
        data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _check_accepted(url: URL) -> None:
    text = str(url)
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set(' \\#"<>^`{|}')
    again, parts = URL(text, encoded=True), urlsplit(text)
    host = parts.hostname or ""
    assert parts.scheme == again.scheme == url.scheme
    assert url.scheme in _DEFAULT
    assert (parts.username, parts.password, again.user, again.password) == (None,) * 4
    assert host == again.raw_host == url.raw_host != ""
    assert (parts.port or _DEFAULT[parts.scheme]) == again.port == url.port
    assert url.port in _PORTS
    assert again.raw_path_qs == url.raw_path_qs
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # No resolver may read a number into what is left: not 127.1, not 0x7f.1, not 2130706433.
        last = host.rstrip(".").rpartition(".")[2]
        assert not last.isdigit()
        assert not last.startswith("0x") or last[2:].strip("0123456789abcdef")
    else:
        assert refusal(address, ()) is None
    assert check_url(text, allowed_ports=_PORTS, allowed_private=()) == url


def seeds() -> Sequence[bytes]:
    """The spellings that have fooled somebody before."""
    urls = [
        "http://example.com/a.jpg",
        "https://example.com:443/a%20b.jpg?X-Sig=%2F%3d&y=a+b#f",
        "HTTP://EXAMPLE.com:8080",
        "http://8.8.8.8/",
        "http://[2606:4700::1111]:80/",
        "http://[::ffff:127.0.0.1]/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://2130706433/",
        "http://017700000001/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://user:pw@example.com@127.0.0.1/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com#@127.0.0.1/",
        "http://example.com:80:80/",
        "http://[fe80::1%25eth0]/",
        "http:///a",
        "//127.0.0.1/a",
        "/c.jpg",
        "file:///etc/passwd",
        "gopher://example.com/_x",
        "http://exa\tmple.com/",
        "http://ex%61mple.com/",
        "http://xn--bcher-kva.example/bücher.jpg",
        "http://bücher.example./?q=ü",
        "http://localhost/",
    ]
    return [url.encode() for url in urls]


TARGET = Target(_open, seeds, json=False, runs=30000, max_bytes=512)
