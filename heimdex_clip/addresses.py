"""Which IP addresses an image may be downloaded from, for URLs that come from strangers. Pure, no look-ups.

The worker downloads by this rule, and so does the client where the model runs in the caller's process.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

# Public by the registry or by omission, yet they lead inside: to the platform, or through a translator
# or tunnel to an address that is written into the address. `is_global` also differs between Python releases.
_REFUSED_V4 = {
    IPv4Network("192.0.0.0/24"): "an address of IETF protocols",
    IPv4Network("192.88.99.0/24"): "a 6to4 relay",
    IPv4Network("168.63.129.16"): "the platform service of a cloud",
}
_REFUSED_V6 = {
    IPv6Network("::/96"): "an IPv4-compatible address",
    IPv6Network("64:ff9b::/96"): "a NAT64 address",
    IPv6Network("64:ff9b:1::/48"): "a local NAT64 address",
    IPv6Network("2001::/23"): "an address of IETF protocols (Teredo among them)",
    IPv6Network("2002::/16"): "a 6to4 address",
    IPv6Network("fec0::/10"): "a site-local address",
    IPv6Network("3fff::/20"): "a documentation address",
    IPv6Network("5f00::/16"): "a segment routing address",
}
# The only space from which IPv6 addresses of the internet are given out. Outside of it lie, among others,
# stateless translators (::ffff:0:0:0/96), which `is_global` lets through.
_PUBLIC_V6 = IPv6Network("2000::/3")


def refusal(address: str | IPv4Address | IPv6Address, allowed_private: Collection[Network]) -> str | None:
    """Why this IP address may not be connected to, None when it may.

    `allowed_private` are networks that are allowed whatever else holds; a v4-mapped address counts as the
    IPv4 address in it. Never raises: what is not an address in canonical notation is refused.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "not an IP address"
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in allowed_private):
        return None
    if isinstance(ip, IPv6Address) and ip.scope_id is not None:
        return "an address with a zone"
    if ip.is_loopback:
        return "a loopback address"
    if ip.is_link_local:
        return "a link-local address"
    if ip.is_multicast:
        return "a multicast address"
    for network, reason in (_REFUSED_V4 if isinstance(ip, IPv4Address) else _REFUSED_V6).items():
        if ip in network:
            return reason
    if not ip.is_global or (isinstance(ip, IPv6Address) and ip not in _PUBLIC_V6):
        return "not a public address"
    return None


def listed(host: str, allowed: Collection[str]) -> bool:
    """Whether a URL's host, in ASCII and lower case, is one of `allowed` or a name below one of them.

    `allowed` are names in the same form without a dot at their end, which also stand for those below them, and IP
    addresses as `canonical` writes them, which stand for themselves.
    """
    try:
        return canonical(host.strip("[]")) in allowed
    except ValueError:
        name = host.removesuffix(".")
    return any(name == entry or name.endswith("." + entry) for entry in allowed)


def canonical(address: str) -> str:
    """An IP address in one notation, the IPv4 one where it is mapped. Raises ValueError where it is none."""
    ip = ipaddress.ip_address(address)
    return str(ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else str(ip)
