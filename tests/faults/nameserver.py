"""A name server on loopback: every name is 127.0.0.1, or it says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

_ANSWER = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x7f\x00\x00\x01"


class NameServer(asyncio.DatagramProtocol):
    """`mute`: questions are counted and not answered."""

    def __init__(self) -> None:
        self.mute = False
        self.questions = 0
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.questions += 1
        if self.mute:
            return
        end = data.index(b"\0", 12) + 5  # the name, its type and class
        asks_ipv4 = data[end - 4 : end - 2] == b"\0\x01"
        count = b"\0\x01" if asks_ipv4 else b"\0\0"
        head = data[:2] + b"\x81\x80\0\x01" + count + b"\0\0\0\0"
        self._transport.sendto(head + data[12:end] + (_ANSWER if asks_ipv4 else b""), address)

    @classmethod
    @asynccontextmanager
    async def running(cls, port: int = 0) -> AsyncIterator[NameServer]:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(cls, ("127.0.0.1", port))
        try:
            yield server
        finally:
            transport.close()
            await asyncio.sleep(0)
