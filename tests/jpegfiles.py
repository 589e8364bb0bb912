"""JPEG files that no ordinary encoder writes: any sampling factors, scans, restarts, markers and codings.

Written from ITU T.81 with random coefficients, so a decoder that treats any of it in its own way shows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

Sampling = tuple[tuple[int, int], ...]
JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"


def adobe(transform: int) -> bytes:
    """The content of Adobe's segment: 0 for RGB or CMYK, 1 for YCbCr, 2 for YCCK."""
    return b"Adobe\0\x64\0\0\0\0" + bytes([transform])


@dataclass(frozen=True, slots=True)
class Spec:
    """What to write. `restart` counts MCUs; `interleaved` False gives every component a scan of its own."""

    width: int
    height: int
    sampling: Sampling = ((1, 1), (1, 1), (1, 1))
    progressive: bool = False
    extended: bool = False
    interleaved: bool = True
    restart: int = 0
    ids: bytes = b"\1\2\3\4"
    segments: tuple[tuple[int, bytes], ...] = ((0xE0, JFIF),)
    precision: int = 8
    end: bytes = b"\xff\xd9"
    seed: int = 0
    loud: bool = True
    """Coefficients over the whole range, so that samples overshoot; else a quiet picture."""


def write(spec: Spec) -> bytes:
    """The file."""
    return _Writer(spec).file()


_AC_SYMBOLS = [run << 4 | size for run in range(16) for size in range(1, 11)] + [0x00, 0xF0]
_DC_LENGTHS = {0: 2, 1: 3, 2: 3, 3: 3, 4: 3, 5: 3, 6: 4, 7: 5, 8: 6, 9: 7, 10: 8, 11: 9}  # T.81, table K.3
_AC_LENGTHS = dict.fromkeys(_AC_SYMBOLS, 8)
_EOB = 0x00


def _codes(lengths: dict[int, int]) -> dict[int, tuple[int, int]]:
    """Symbol -> (code, bits), assigned as T.81, annex C does."""
    codes, code, last = {}, 0, 0
    for symbol, bits in sorted(lengths.items(), key=lambda item: item[1]):
        code <<= bits - last
        codes[symbol], last = (code, bits), bits
        code += 1
    return codes


def _table(number: int, lengths: dict[int, int]) -> bytes:
    counts = [sum(bits == length for bits in lengths.values()) for length in range(1, 17)]
    symbols = [symbol for symbol, _ in sorted(lengths.items(), key=lambda item: item[1])]
    return bytes([number, *counts, *symbols])


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


@dataclass(slots=True)
class _Bits:
    data: bytearray = field(default_factory=bytearray)
    pending: int = 0
    count: int = 0

    def put(self, value: int, bits: int) -> None:
        self.pending, self.count = self.pending << bits | value, self.count + bits
        while self.count >= 8:
            self.count -= 8
            self._byte(self.pending >> self.count & 0xFF)
        self.pending &= (1 << self.count) - 1

    def align(self) -> None:
        if self.count:
            self._byte(self.pending << 8 - self.count & 0xFF | (1 << 8 - self.count) - 1)
        self.pending = self.count = 0

    def _byte(self, value: int) -> None:
        self.data.append(value)
        if value == 0xFF:
            self.data.append(0)


class _Writer:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.random = random.Random(spec.seed)
        self.dc, self.ac = _codes(_DC_LENGTHS), _codes(_AC_LENGTHS)
        self.across = max(h for h, _ in spec.sampling)
        self.down = max(v for _, v in spec.sampling)

    def file(self) -> bytes:
        spec = self.spec
        parts = [b"\xff\xd8", *(_segment(*segment) for segment in spec.segments)]
        parts.append(_segment(0xDB, b"\0" + bytes(self.random.randrange(1, 40) for _ in range(64))))
        components = b"".join(bytes([spec.ids[n], h << 4 | v, 0]) for n, (h, v) in enumerate(spec.sampling))
        size = spec.height.to_bytes(2, "big") + spec.width.to_bytes(2, "big")
        marker = 0xC2 if spec.progressive else 0xC1 if spec.extended else 0xC0
        parts.append(_segment(marker, bytes([spec.precision]) + size + bytes([len(spec.sampling)]) + components))
        parts.append(_segment(0xC4, _table(0x00, _DC_LENGTHS) + _table(0x10, _AC_LENGTHS)))
        if spec.restart:
            parts.append(_segment(0xDD, spec.restart.to_bytes(2, "big")))
        everything = list(range(len(spec.sampling)))
        groups = [everything] if spec.interleaved else [[one] for one in everything]
        parts += [self._scan(group, 0, 0 if spec.progressive else 63) for group in groups]
        if spec.progressive:
            for band in ((1, 5), (6, 63)):
                parts += [self._scan([one], *band) for one in everything]
        return b"".join(parts) + spec.end

    def _scan(self, group: Sequence[int], first: int, last: int) -> bytes:
        selectors = b"".join(bytes([self.spec.ids[one], 0]) for one in group)
        header = _segment(0xDA, bytes([len(group)]) + selectors + bytes([first, last, 0]))
        bits, predicted, restarts = _Bits(), dict.fromkeys(group, 0), 0
        for unit in range(self._units(group)):
            if self.spec.restart and unit and unit % self.spec.restart == 0:
                bits.align()
                bits.data += bytes([0xFF, 0xD0 + restarts % 8])
                predicted, restarts = dict.fromkeys(group, 0), restarts + 1
            for one in group:
                h, v = self.spec.sampling[one] if len(group) > 1 else (1, 1)
                for _ in range(h * v):
                    predicted[one] = self._block(bits, predicted[one], first, last)
        bits.align()
        return header + bytes(bits.data)

    def _units(self, group: Sequence[int]) -> int:
        """MCUs of a scan; one component alone counts its own blocks (T.81, A.2.2)."""
        if len(group) > 1:
            h, v = self.across, self.down
            return -(-self.spec.width // (8 * h)) * -(-self.spec.height // (8 * v))
        h, v = self.spec.sampling[group[0]]
        width, height = -(-self.spec.width * h // self.across), -(-self.spec.height * v // self.down)
        return -(-width // 8) * -(-height // 8)

    def _block(self, bits: _Bits, predicted: int, first: int, last: int) -> int:
        if first == 0:
            value = self.random.randint(-900, 900) if self.spec.loud else predicted + self.random.randint(-9, 9)
            value = max(-1000, min(1000, value))
            self._coefficient(bits, self.dc, value - predicted, run=None)
            predicted, first = value, 1
        at = first
        while first <= last and self.random.random() < 0.6:
            run = self.random.randrange(8)
            if at + run > last:
                break
            large = 511 if self.spec.loud else 15
            self._coefficient(bits, self.ac, self.random.choice((-1, 1)) * self.random.randint(1, large), run=run)
            at += run + 1
        if last > 0 and at <= last:
            bits.put(*self.ac[_EOB])
        return predicted

    @staticmethod
    def _coefficient(bits: _Bits, codes: dict[int, tuple[int, int]], value: int, *, run: int | None) -> None:
        size = abs(value).bit_length()
        bits.put(*codes[size if run is None else run << 4 | size])
        if size:
            bits.put(value if value > 0 else value + (1 << size) - 1, size)
