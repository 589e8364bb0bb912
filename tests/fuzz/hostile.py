"""JSON that nobody sends in good faith: the values that parsers, limits and formatters trip over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

FIELDS = (
    *("payload", "auth", "v", "kid", "sig", "ts", "aud", "exp", "op", "items", "text", "image_url", "image_base64"),
    *("request_id", "normalize", "model", "encoding", "input", "modality", "encoding_format", "dimensions", "user"),
)
"""Every name that a request of either door may hold."""

STRINGS = (
    *(
        "",
        " ",
        "\x00",
        "\ud800",
        "\udfff\ud800",
        "\ufeff",
        "\u202e",
        "\x7f\x1b[2J",
        "\r\nX-Injected: 1",
        "'\"\\",
        "%00",
    ),
    *("__class__", "{0.__class__}", "../../etc/passwd", "NaN", "null", "true", "info", "embed", "base64", "default"),
    *("https://example.com/a.jpg", "http://169.254.169.254/", "http://[::1]/", "http://127.0.0.1:9/", "data:,x"),
    *("&#" + "9" * 5000 + ";", "&#x110000;", "&#0;", "🏳️‍🌈" * 50, "a\u0300" * 100, "ﷺ" * 100, "\U0010ffff", "０１２３"),
    *("AAAA", "AAA", "====", "iVBORw0KGgo=", "/9j/4AAQSkZJRg=="),
)
NUMBERS = (
    *(0, -0.0, 1, -1, 2, 2.0, 512, 512.0, 2**31, 2**53 + 1, 2**63, -(2**64), 10**400, -(10**400)),
    *(1e308, 5e-324, 1e-400, float("nan"), float("inf"), float("-inf"), 1_767_225_660),
)


def nested(depth: int, *, mapping: bool = False) -> object:
    """Lists, or objects under the field `items`, `depth` levels deep."""
    value: object = None
    for _ in range(depth):
        value = {"items": value} if mapping else [value]
    return value


SHALLOW: Sequence[object] = (None, True, False, *STRINGS, *NUMBERS, [], {}, [[]], [None], {"": None}, nested(50))
"""Small ones, to stand anywhere in a request."""

LARGE: Mapping[str, object] = {
    "10,000 lists": nested(10_000),
    "10,000 objects": nested(10_000, mapping=True),
    "a string of 10 MB": "a" * (10 << 20),
    "half surrogate pairs": "\ud800" * 200_000,
    "null bytes": "\x00" * 200_000,
    "100,000 items": [{"text": "a"}] * 100_000,
    "100,000 nulls": [None] * 100_000,
    "100,000 unknown fields": {str(number): number for number in range(100_000)},
    "a field name of 1 MB": {"a" * (1 << 20): 1},
    "an integer of 4,000 digits": 10**4000,
}

BODIES: Mapping[str, bytes] = {
    "nothing": b"",
    "a blank": b" ",
    "no JSON": b"{",
    "10,000 levels": b"[" * 10_000 + b"]" * 10_000,
    "100,000 open objects": b'{"items":' * 100_000,
    "NaN": b'{"text": NaN}',
    "Infinity": b'{"dimensions": Infinity, "input": "a"}',
    "an overflow": b'{"dimensions": 1e999, "input": "a"}',
    "an integer of 400 digits": b'{"dimensions": 1' + b"0" * 400 + b', "input": "a"}',
    "an integer of 5,000 digits": b'{"dimensions": 1' + b"0" * 5000 + b', "input": "a"}',
    "half a surrogate pair": b'{"text": "\\ud800"}',
    "a surrogate in UTF-8": b'{"text": "\xed\xa0\x80"}',
    "latin-1": b'{"text": "\xe4"}',
    "UTF-16": '{"text": "a"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"text": "a"}',
    "a null byte": b'{"text": "a\x00b"}',
    "an escaped null byte": b'{"text": "a\\u0000b"}',
    "a field twice": b'{"text": "a", "text": "b"}',
    "two documents": b'{"text": "a"}{"text": "b"}',
    "a string of 10 MB": json.dumps({"text": "a" * (10 << 20)}).encode(),
    "an image of 10 MB": json.dumps({"image_base64": "A" * (10 << 20)}).encode(),
    "an identifier of 10 MB": json.dumps({"text": "a", "request_id": "r" * (10 << 20)}).encode(),
    "a payload of 10 MB": json.dumps({"payload": "[" * (10 << 20), "auth": {"v": 2}}).encode(),
    "100,000 items": json.dumps({"items": [{"text": "a"}] * 100_000, "input": ["a"] * 100_000}).encode(),
}
"""Raw bodies, some of which no JSON writer would write."""
