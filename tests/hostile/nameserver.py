"""A DNS server on loopback that answers what a test tells it to, lies and silence included."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import aiohttp

SILENT = "silent"
"""A query that is never answered."""
GARBAGE = "garbage"
"""Bytes that are no DNS message."""
SERVFAIL, NXDOMAIN, REFUSED = "2", "3", "5"
_TYPES = {1: "A", 28: "AAAA"}
_CNAME = 5

Answer = Sequence[str]
"""IP addresses of either kind, names (a CNAME each, followed by the server itself), or one of the words above."""


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Each name has answers in turn, the last one for ever; a name's A and AAAA queries have a turn each."""

    answers: dict[str, list[Answer]]
    port: int = 0
    queries: Counter[tuple[str, str]] = field(default_factory=Counter)
    _transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, kind, end = _question(data)
        turn = self.queries[name, kind]
        self.queries[name, kind] += 1
        answers = self.answers.get(name, [[NXDOMAIN]])
        answer = answers[min(turn, len(answers) - 1)]
        assert self._transport is not None
        if SILENT in answer:
            return
        if GARBAGE in answer:
            self._transport.sendto(b"\xff" * 40, addr)
            return
        code, records = self._records(name, kind, answer)
        head = data[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        self._transport.sendto(head + data[12:end] + b"".join(records), addr)

    def _records(self, name: str, kind: str, answer: Answer) -> tuple[int, list[bytes]]:
        records: list[bytes] = []
        for entry in answer:
            if entry in (SERVFAIL, NXDOMAIN, REFUSED):
                return int(entry), []
            try:
                ip = ipaddress.ip_address(entry)
            except ValueError:
                records.append(_record(name, _CNAME, _packed(entry)))
                if entry in self.answers and len(records) < 8:
                    records += self._records(entry, kind, self.answers[entry][-1])[1]
                continue
            if kind == ("A" if ip.version == 4 else "AAAA"):
                records.append(_record(name, 1 if ip.version == 4 else 28, ip.packed))
        return 0, records[:60]


def _question(data: bytes) -> tuple[str, str, int]:
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
        at += 1 + data[at]
    (kind,) = struct.unpack("!H", data[at + 1 : at + 3])
    return ".".join(labels).lower(), _TYPES.get(kind, str(kind)), at + 5


def _packed(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _record(name: str, kind: int, content: bytes) -> bytes:
    """Time to live 0: whoever asks again is answered anew."""
    return _packed(name) + struct.pack("!HHIH", kind, 1, 0, len(content)) + content


@asynccontextmanager
async def name_server(**answers: Sequence[Answer]) -> AsyncIterator[NameServer]:
    """Serve names, in which an underscore stands for a dot."""
    zone = {name.replace("_", "."): list(turns) for name, turns in answers.items()}
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(zone), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()


def resolver(server: NameServer, *, try_s: float = 2.0, tries: int = 1) -> aiohttp.AsyncResolver:
    """The resolver that the worker uses, asking this server instead of the system's."""
    return aiohttp.AsyncResolver(nameservers=["127.0.0.1"], udp_port=server.port, timeout=try_s, tries=tries)
