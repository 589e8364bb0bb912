"""SHA-256 from the middle (FIPS 180-4), which hashlib does not offer and a length extension needs."""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF


def _primes() -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < 64:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _constants() -> list[int]:
    """The first 32 bits of the fractional parts of the cube roots of the first 64 primes."""
    constants = []
    for prime in _primes():
        root = round((prime << 96) ** (1 / 3))
        while root**3 > prime << 96:
            root -= 1
        while (root + 1) ** 3 <= prime << 96:
            root += 1
        constants.append(root & _MASK)
    return constants


def padding(length: int) -> bytes:
    """What SHA-256 itself appends to `length` bytes."""
    return b"\x80" + bytes((55 - length) % 64) + struct.pack("!Q", 8 * length)


def resumed(digest: bytes, length: int, suffix: bytes) -> bytes:
    """The digest of `length` bytes (padding included) that hash to `digest`, followed by `suffix`."""
    state = list(struct.unpack("!8I", digest))
    data = suffix + padding(length + len(suffix))
    for at in range(0, len(data), 64):
        state = _compressed(state, data[at : at + 64])
    return struct.pack("!8I", *state)


def _compressed(state: list[int], block: bytes) -> list[int]:
    words = list(struct.unpack("!16I", block))
    for at in range(16, 64):
        low, high = words[at - 15], words[at - 2]
        small = _turned(low, 7) ^ _turned(low, 18) ^ low >> 3
        large = _turned(high, 17) ^ _turned(high, 19) ^ high >> 10
        words.append((words[at - 16] + small + words[at - 7] + large) & _MASK)
    a, b, c, d, e, f, g, h = state
    for word, constant in zip(words, _constants(), strict=True):
        mixed = _turned(e, 6) ^ _turned(e, 11) ^ _turned(e, 25)
        first = h + mixed + (e & f ^ ~e & g) + constant + word
        second = (_turned(a, 2) ^ _turned(a, 13) ^ _turned(a, 22)) + (a & b ^ a & c ^ b & c)
        h, g, f, e, d, c, b, a = g, f, e, (d + first) & _MASK, c, b, a, (first + second) & _MASK
    return [(old + new) & _MASK for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


def _turned(word: int, bits: int) -> int:
    return (word >> bits | word << 32 - bits) & _MASK
