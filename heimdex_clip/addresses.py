"""Which IP addresses an image may be downloaded from, for URLs that come from strangers. Pure, no look-ups.

The rule is the worker's own; it counts here where the model runs in the caller's process.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

# Public by the registry or by omission, yet they lead inside: to the platform, or through a translator
# or tunnel to an address that is written into the address. `is_global` also differs between Python releases.
_REFUSED: tuple[Network, ...] = (
    *map(IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16")),
    *map(
        IPv6Network,
        (
            "::/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "2001::/23",
            "2002::/16",
            "fec0::/10",
            "3fff::/20",
            "5f00::/16",
        ),
    ),
)
# The only space from which IPv6 addresses of the internet are given out.
_PUBLIC_V6 = IPv6Network("2000::/3")


def may_connect(address: str, allowed_private: Collection[Network]) -> bool:
    """Whether an image may come from this IP address: a public one, or one of the networks allowed besides.

    A v4-mapped address counts as the IPv4 address in it. Never raises: what is not an address is refused.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in allowed_private):
        return True
    if isinstance(ip, IPv6Address) and (ip.scope_id is not None or ip not in _PUBLIC_V6):
        return False
    odd = ip.is_loopback or ip.is_link_local or ip.is_multicast or any(ip in network for network in _REFUSED)
    return ip.is_global and not odd
