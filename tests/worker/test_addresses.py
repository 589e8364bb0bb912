"""The address and URL rules, as one table of spellings with the verdict each must get."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from heimdex_clip.addresses import Network, refusal
from heimdex_clip.errors import ClipError, UrlRefused
from worker import addresses

PORTS = frozenset({80, 443})

REFUSED_ADDRESSES = (
    # this host, private networks, shared and link-local space
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.255",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    # metadata and platform services
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
    # protocols, documentation, benchmarks, reserved
    "192.0.0.1",
    "192.0.0.8",
    "192.0.0.9",
    "192.0.0.10",
    "192.0.0.170",
    "192.0.0.255",
    "192.0.2.1",
    "192.88.99.0",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "255.255.255.254",
    "255.255.255.255",
    # multicast
    "224.0.0.1",
    "233.252.0.1",
    "239.255.255.255",
    "ff02::1",
    "ff0e::1",
    "ffff::1",
    # IPv6 of the same kinds
    "::",
    "::1",
    "0:0:0:0:0:0:0:1",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "feff::1",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "3fff:fff::1",
    "5f00::1",
    # an IPv4 address inside an IPv6 one
    "::ffff:0.0.0.0",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "0:0:0:0:0:ffff:7f00:0001",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:192.168.1.1",
    "::ffff:168.63.129.16",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:0:127.0.0.1",
    "::ffff:0:8.8.8.8",
    "64:ff9b::127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "64:ff9b:1:ffff::10.0.0.1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:808:808::1",
    "2001::1",
    "2001:0:53aa:64c:0:fbff:80ff:fffe",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff:ffff::1",
    # never handed out
    "4000::1",
    "8000::1",
    "1::1",
    # zones
    "fe80::1%eth0",
    "fe80::1%1",
    "::1%lo",
    "2606:4700:4700::1111%eth0",
    # not addresses in their usual notation
    "",
    "localhost",
    "2130706433",
    "127.1",
    "127.0.1",
    "0177.0.0.1",
    "127.0.0.01",
    "0x7f.0.0.1",
    "0x7f000001",
    "127.0.0.1 ",
    "127.0.0.1.",
    "127.0.0.1/32",
    "127.0.0.256",
    "１２７.0.0.1",
    "[::1]",
    "::g",
)

ALLOWED_ADDRESSES = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:82a::200e",
    "3ffe::1",
)

REFUSED_URLS = (
    # scheme
    "",
    "example.com",
    "example.com/a.jpg",
    "//example.com/a.jpg",
    "http:example.com",
    "http:/example.com",
    "http://",
    "http:///a.jpg",
    "https://?x",
    "https://#x",
    "ftp://example.com/",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://example.com:80/",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "ws://example.com/",
    "httpss://example.com/",
    "http+unix://example.com/",
    " http://example.com/",
    "http://example.com/ ",
    "http://example.com/\n",
    "\u3000http://example.com/",
    "ht\ttp://example.com/",
    # user information
    "http://user@example.com/",
    "http://user:password@example.com/",
    "http://@example.com/",
    "http://:@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com%40127.0.0.1/",
    "http://a@b@example.com/",
    # ports
    "http://example.com:/",
    "http://example.com:0/",
    "http://example.com:22/",
    "http://example.com:8080/",
    "http://example.com:65536/",
    "http://example.com:99999999999999999999/",
    "http://example.com:-80/",
    "http://example.com:+80/",
    "http://example.com: 80/",
    "http://example.com:８０/",
    "http://example.com:80:80/",
    "http://example.com:http/",
    # addresses spelled out
    "http://127.0.0.1/",
    "http://127.0.0.1:80/",
    "http://127.0.0.1./",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://2130706433./",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://127.0.0.01/",
    "http://0x7f000001/",
    "http://0X7F000001/",
    "http://0x7f.0.0.1/",
    "http://0x7f.1/",
    "http://127.0.0.0x1/",
    "http://0/",
    "http://0x/",
    "http://00/",
    "http://0.0.0.0/",
    "http://8.8.8/",
    "http://134744072/",
    "http://1.2.3.4.5/",
    "http://256.1.1.1/",
    "http://example.1/",
    "http://example.0xff/",
    "http://10.0.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/",
    "http://100.100.100.200/",
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:FFFF:7F00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[2606:4700:4700::1111%25eth0]/",
    "http://[v1.fe80::a]/",
    "http://[127.0.0.1]/",
    "http://[]/",
    "http://[::1/",
    "http://::1/",
    "http://[::1]x/",
    "http://[::1]:x/",
    "http://[::1][::1]/",
    "http://2606:4700:4700::1111/",
    # the same behind IDNA
    "http://127。0。0。1/",
    "http://127．0．0．1/",
    "http://127｡0｡0｡1/",
    "http://１２７.0.0.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://1𝟮7.0.0.1/",
    "http://０ｘ７ｆ.1/",
    # hosts that are no names
    "http://.example.com/",
    "http://./",
    "http://../",
    "http://example..com/",
    "http://example.com../",
    "http://ex%61mple.com/",
    "http://127.0.0.1%00.example.com/",
    "http://exa mple.com/",
    "http://exam\u00adple.com/",
    "http://\u202eexample.com/",
    "http://exa<mple.com/",
    "http://*.example.com/",
    "http://example.com;x/",
    "http://example.com,example.org/",
    "http://" + "a" * 64 + ".com/",
    "http://" + "a." * 127 + "com/",
    # what parsers disagree about
    "http://example.com\\@127.0.0.1/",
    "http://127.0.0.1\\@example.com/",
    "http:\\\\example.com/",
    "http://example.com/a\\b",
    "http://example.com/\r\nHost: x",
    "http://exam\tple.com/",
    "http://example.com/\x00",
    "http://example.com/\x7f",
    "http://example.com/\ud800",
)

ALLOWED_URLS = {
    "http://example.com": "http://example.com/",
    "https://example.com/a.jpg": "https://example.com/a.jpg",
    "HTTP://EXAMPLE.COM/A": "http://example.com/A",
    "http://example.com:80/": "http://example.com/",
    "https://example.com:443/": "https://example.com/",
    "http://example.com:443/": "http://example.com:443/",
    "http://example.com./": "http://example.com./",
    "http://example.com?a=1": "http://example.com/?a=1",
    "http://example.com/a#b": "http://example.com/a",
    "http://example.com#@127.0.0.1/": "http://example.com/",
    "http://example.com/@127.0.0.1": "http://example.com/@127.0.0.1",
    "http://example.com/?u=http://127.0.0.1/": "http://example.com/?u=http://127.0.0.1/",
    "http://my_bucket.example.com/": "http://my_bucket.example.com/",
    "http://a-b.example.com/": "http://a-b.example.com/",
    "http://127.0.0.1.example.com/": "http://127.0.0.1.example.com/",
    "http://0x7f.example.com/": "http://0x7f.example.com/",
    "http://1e100.net/": "http://1e100.net/",
    "http://8.8.8.8/": "http://8.8.8.8/",
    "http://[2606:4700:4700::1111]/": "http://[2606:4700:4700::1111]/",
    "http://[2606:4700:4700::ABCD]/": "http://[2606:4700:4700::abcd]/",
    "http://[2606:4700:4700::1111]:443/": "http://[2606:4700:4700::1111]:443/",
    "http://[::ffff:8.8.8.8]/": "http://[::ffff:8.8.8.8]/",
    "http://bücher.example/": "http://xn--bcher-kva.example/",
    "http://ＥＸＡＭＰＬＥ.com/": "http://example.com/",
    # names: only their address tells, so the connection decides
    "http://localhost/": "http://localhost/",
    "http://metadata.google.internal/": "http://metadata.google.internal/",
    # signed URLs must reach the store byte for byte
    "https://i.example/http%3A%2F%2Fa.com%2Fb.png?s=%2C%7E+x%20y&t=a%3D%3d": (
        "https://i.example/http%3A%2F%2Fa.com%2Fb.png?s=%2C%7E+x%20y&t=a%3D%3d"
    ),
    'http://example.com/ä b"<>?ü={}': "http://example.com/%C3%A4%20b%22%3C%3E?%C3%BC=%7B%7D",
}


def _check(url: str, allowed_private: tuple[Network, ...] = ()) -> URL:
    return addresses.check_url(url, allowed_ports=PORTS, allowed_private=allowed_private)


def _verdict(url: str) -> URL | UrlRefused:
    try:
        return _check(url)
    except UrlRefused as error:
        return error


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_refused_address(address: str) -> None:
    assert refusal(address, ())


@pytest.mark.parametrize("address", ALLOWED_ADDRESSES)
def test_allowed_address(address: str) -> None:
    assert refusal(address, ()) is None
    assert refusal(ipaddress.ip_address(address), ()) is None


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_refused_url(url: str) -> None:
    with pytest.raises(UrlRefused):
        _check(url)


@pytest.mark.parametrize(("url", "requested"), ALLOWED_URLS.items())
def test_allowed_url(url: str, requested: str) -> None:
    assert str(_check(url)) == requested


def test_the_tables_are_long_and_hold_no_line_twice() -> None:
    for refused, allowed in ((REFUSED_ADDRESSES, ALLOWED_ADDRESSES), (REFUSED_URLS, tuple(ALLOWED_URLS))):
        rows = (*refused, *allowed)
        assert len(rows) == len(set(rows)) >= 120


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("127.0.0.0/8", "127.0.0.1", "10.0.0.1"),
        ("127.0.0.0/8", "::ffff:127.0.0.1", "::1"),
        ("10.1.0.0/16", "10.1.2.3", "10.2.0.1"),
        ("::1/128", "::1", "127.0.0.1"),
        ("fd00::/8", "fd00::1", "fe80::1"),
        ("64:ff9b::/96", "64:ff9b::8.8.8.8", "64:ff9b:1::1"),
    ],
)
def test_allowed_private_widens_by_that_network_alone(network: str, inside: str, outside: str) -> None:
    allowed = (ipaddress.ip_network(network),)
    assert refusal(inside, allowed) is None
    assert refusal(outside, allowed) is not None
    assert refusal("8.8.8.8", allowed) is None


def test_allowed_private_reaches_literals_in_urls_but_no_odd_spelling() -> None:
    allowed = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
    assert _check("http://127.0.0.1/", allowed).host == "127.0.0.1"
    assert _check("http://[::1]/", allowed).host == "::1"
    for url in ("http://127.1/", "http://2130706433/", "http://[::1%25lo]/", "http://127.0.0.1./"):
        with pytest.raises(UrlRefused):
            _check(url, allowed)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("b.jpg", "https://example.com/x/b.jpg"),
        ("/b%2Fc.jpg?s=%2C", "https://example.com/b%2Fc.jpg?s=%2C"),
        ("?b", "https://example.com/x/a?b"),
        ("../b", "https://example.com/b"),
        ("//other.example/b", "https://other.example/b"),
        ("https://other.example/b#c", "https://other.example/b"),
    ],
)
def test_a_redirect_is_joined(location: str, target: str) -> None:
    current = _check("https://example.com/x/a?q=%2C")
    joined = addresses.follow(current, location, allowed_ports=PORTS, allowed_private=())
    assert str(joined) == target


@pytest.mark.parametrize(
    "location",
    [
        "http://example.com/",
        "//127.0.0.1/",
        "https://user@example.com/",
        "https://example.com:22/",
        "file:///etc/passwd",
        "\\\\example.com/",
        "/\\example.com/",
        "https://[::1",
        "/a\x00",
        "/\udcff",
    ],
)
def test_a_redirect_is_held_to_the_same_rule(location: str) -> None:
    current = _check("https://example.com/x/a")
    with pytest.raises(UrlRefused):
        addresses.follow(current, location, allowed_ports=PORTS, allowed_private=())


def test_a_redirect_may_leave_http_for_https() -> None:
    target = addresses.follow(
        _check("http://example.com/"), "https://example.com/", allowed_ports=PORTS, allowed_private=()
    )
    assert target.scheme == "https"


@given(st.one_of(st.text(), st.text().map("http://{}".format), st.ip_addresses().map("http://{}/".format)))
def test_any_text_is_accepted_or_refused_with_a_plain_line(url: str) -> None:
    verdict = _verdict(url)
    if isinstance(verdict, UrlRefused):
        assert verdict.message.isascii()
        assert "\n" not in verdict.message
        return
    assert verdict.scheme in ("http", "https")
    assert verdict.port in PORTS
    assert verdict.raw_host
    assert str(verdict).isascii()
    assert verdict.user is verdict.password is None


ALLOWED_HOSTS = ("example.com", "Images.Example.ORG.", "bücher.example", "minio", "8.8.8.8", "2606:4700:4700:0::1111")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://EXAMPLE.com./",
        "http://a.example.com/",
        "http://a.b.example.com./",
        "http://ａ.ｅｘａｍｐｌｅ。com/",
        "http://images.example.org/",
        "http://a.images.example.org/",
        "http://xn--bcher-kva.example/",
        "http://BÜCHER.example/",
        "http://a.bücher.example/",
        "http://minio/",
        "http://8.8.8.8/",
        "http://[::ffff:8.8.8.8]/",
        "http://[2606:4700:4700::1111]/",
    ],
)
def test_a_listed_host_and_those_below_it_are_allowed(url: str) -> None:
    hosts = tuple(addresses.parse_host(text) for text in ALLOWED_HOSTS)
    assert addresses.check_url(url, allowed_ports=PORTS, allowed_private=(), allowed_hosts=hosts) == _check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://com/",
        "http://example.org/",
        "http://notexample.com/",
        "http://example.com.evil.example/",
        "http://example.comx/",
        "http://example-com/",
        "http://xexample.com./",
        "http://org/",
        "http://example.co/",
        "http://xn--example.com-/",
        "http://minio.example/",
        "http://minio2/",
        "http://8.8.4.4/",
        "http://1.8.8.8.8.example/",
        "http://[2606:4700:4700::1001]/",
        "http://[::ffff:8.8.4.4]/",
        "http://a.8.8.8.8/",
        "http://examplе.com/",  # with a Cyrillic letter
        "http://example.com@evil.example/",
    ],
)
def test_a_host_that_is_not_listed_is_refused(url: str) -> None:
    hosts = tuple(addresses.parse_host(text) for text in ALLOWED_HOSTS)
    with pytest.raises(UrlRefused):
        addresses.check_url(url, allowed_ports=PORTS, allowed_private=(), allowed_hosts=hosts)
    current = _check("https://example.com/")
    with pytest.raises(UrlRefused):
        addresses.follow(current, url, allowed_ports=PORTS, allowed_private=(), allowed_hosts=hosts)


def test_a_listed_address_must_still_be_public() -> None:
    rules: dict[str, Any] = {"allowed_ports": PORTS, "allowed_hosts": ("127.0.0.1",)}
    with pytest.raises(UrlRefused, match="loopback"):
        addresses.check_url("http://127.0.0.1/", allowed_private=(), **rules)
    loopback = (ipaddress.ip_network("127.0.0.0/8"),)
    assert addresses.check_url("http://127.0.0.1/", allowed_private=loopback, **rules).host == "127.0.0.1"
    with pytest.raises(UrlRefused, match="not among those"):
        addresses.check_url("http://127.0.0.2/", allowed_private=loopback, **rules)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        ".example.com",
        "*.example.com",
        "example..com",
        "example.com:80",
        "http://example.com",
        "example.com/a",
        "10.0.0.0/8",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "[::1]",
        "a b",
        "user@example.com",
        "a" * 64,
        "exa\nmple",
    ],
)
def test_what_is_no_host_is_not_listed(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        addresses.parse_host(text)
    assert not isinstance(caught.value, ClipError)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_one_inside(address: ipaddress.IPv4Address) -> None:
    assert refusal(f"::ffff:{address}", ()) == refusal(address, ())


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("ftp://example.com/?hunter2", "scheme"),
        ("http://user:hunter2@example.com/", "user name"),
        ("http://example.com:22/?token=hunter2", "port is not allowed; these are: 80, 443"),
        ("http://127.0.0.1/?hunter2", "a loopback address"),
        ("http://127.1/?hunter2", "usual notation"),
        ("http://hunter2..example/", "not a valid name"),
    ],
)
def test_a_message_names_the_cause_and_nothing_of_the_url(url: str, cause: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        _check(url)
    assert cause in caught.value.message
    assert "hunter2" not in caught.value.message
