"""The address rule of the library is the worker's."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from heimdex_clip.addresses import may_connect
from worker.addresses import refusal

NEAR = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "8.8.8.8",
    "1.1.1.1",
    "93.184.216.34",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2606:4700:4700::1111",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "localhost",
    "127.1",
    "017700000001",
]


@pytest.mark.parametrize("address", NEAR)
def test_both_decide_alike(address: str) -> None:
    assert may_connect(address, ()) is (refusal(address, ()) is None)


def test_both_decide_alike_on_a_sample_of_all() -> None:
    chance = random.Random(0)
    sample = [str(IPv4Address(chance.getrandbits(32))) for _ in range(3000)]
    sample += [str(IPv6Address(chance.getrandbits(128))) for _ in range(1000)]
    sample += [str(IPv6Address(0x2000 << 112 | chance.getrandbits(112))) for _ in range(2000)]
    decided = [may_connect(address, ()) for address in sample]
    assert decided == [refusal(address, ()) is None for address in sample]
    assert 0 < sum(decided) < len(decided)


def test_networks_may_be_allowed_besides() -> None:
    allowed = (ip_network("10.0.0.0/8"),)
    assert may_connect("10.1.2.3", allowed)
    assert may_connect("::ffff:10.1.2.3", allowed)
    assert not may_connect("192.168.0.1", allowed)
