"""A picture for the smoke test, made of the standard library alone: PNG, RGB, 320 x 240."""

from __future__ import annotations

import struct
import zlib

WIDTH, HEIGHT = 320, 240


def png() -> bytes:
    """Colours that run across with a dark disc in the middle: the same bytes each time."""
    rows = bytearray()
    for y in range(HEIGHT):
        rows.append(0)  # no filter
        for x in range(WIDTH):
            inside = (x - WIDTH // 2) ** 2 + (y - HEIGHT // 2) ** 2 < 70**2
            rows += bytes((30, 40, 60)) if inside else bytes((x * 255 // WIDTH, y * 255 // HEIGHT, 160))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 6)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
