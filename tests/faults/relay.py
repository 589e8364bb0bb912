"""A port in front of another one, whose address stays the same: it passes on, cuts, stalls, or answers nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Relay:
    """Passes connections on to `target_port` of 127.0.0.1, or refuses them while that is None.

    `swallowed` counts what was answered here, with nonsense, or taken and never passed on.
    """

    def __init__(self) -> None:
        self.target_port: int | None = None
        self.port = 0
        self.swallowed = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._nonsense = b""
        self._flowing = asyncio.Event()
        self._flowing.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await asyncio.sleep(0.05)  # so that the connections' own tasks see it

    def cut(self) -> None:
        """Abort every connection; refuse new ones until `target_port` is set again."""
        self.target_port = None
        self._abort()

    def stall(self) -> None:
        """Take what comes and pass nothing on, either way, until `heal`."""
        self._flowing.clear()

    def garble(self, body: bytes, content_type: str = "text/html") -> None:
        """Abort every connection; answer each request with status 200 and `body` until `heal`."""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        self._nonsense = head.encode() + b"Connection: close\r\n\r\n" + body
        self._abort()

    def heal(self) -> None:
        """Pass on again; what was stalled goes first."""
        self._nonsense = b""
        self._flowing.set()

    def _abort(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._flowing.set()  # nobody waits for a connection that is gone

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._nonsense:
            await self._answer(reader, writer)
            return
        if self.target_port is None:
            writer.transport.abort()
            return
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, forth}
        try:
            await asyncio.gather(self._pass(reader, forth), self._pass(back, writer))
        finally:
            self._open -= {writer, forth}

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            self.swallowed += 1
            writer.write(self._nonsense)
            await writer.drain()
        writer.close()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                await self._flowing.wait()
                if target.is_closing():
                    self.swallowed += 1
                    break
                target.write(data)
                await target.drain()
        target.close()
