"""The translation alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdex_clip.contract import ImageData, ImageUrl, Item, Text
from heimdex_clip.errors import InvalidRequest
from worker.http import openai


def sources(body: object) -> list[object]:
    return [item.source for item in openai.parse(body, dim=512).items if isinstance(item, Item)]


def test_inputs_become_sources() -> None:
    assert sources({"input": "a"}) == [Text("a")]
    assert sources({"input": ["a", {"text": "b"}, {"image": "http://x/y"}, {"image": "DATA:;BASE64,QUI="}]}) == [
        Text("a"),
        Text("b"),
        ImageUrl("http://x/y"),
        ImageData(b"AB"),
    ]
    assert sources({"input": ["http://x/y", {"text": "b"}], "modality": "image"}) == [ImageUrl("http://x/y"), Text("b")]


def test_options_are_read() -> None:
    request = openai.parse(
        {"input": "a", "model": "m", "encoding_format": "base64", "dimensions": 512, "user": "u"}, dim=512
    )
    assert (request.model, request.encoding, request.batch) == ("m", "base64", True)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ([], "object"),
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": 1}, "input"),
        ({"input": [[1, 2]]}, "token ids"),
        ({"input": [None]}, "each input"),
        ({"input": [{"image": 1}]}, "each input"),
        ({"input": [{"image": "u", "text": "t"}]}, "each input"),
        ({"input": [{"text": 1}]}, r"input\[0\]"),
        ({"input": ["a", "\ud800"]}, r"input\[1\]"),
        ({"input": [{"image": "data:image/png,raw"}]}, "data URI"),
        ({"input": [{"image": "data:image/png;base64,?"}]}, r"input\[0\]"),
        ({"input": "a", "modality": "audio"}, "modality"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 511}, "dimensions"),
        ({"input": "a", "dimensions": True}, "dimensions"),
        ({"input": "a", "model": 1}, "model"),
        ({"input": "a", "normalize": False}, "normalize"),
    ],
)
def test_what_is_wrong_is_named(body: object, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        openai.parse(body, dim=512)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {"input": JSON | st.lists(st.fixed_dictionaries({"image": JSON}), max_size=2)},
    optional=dict.fromkeys(("model", "modality", "encoding_format", "dimensions", "user"), JSON),
)


@given(JSON | BODIES)
def test_any_json_is_a_request_or_an_invalid_one(body: object) -> None:
    try:
        request = openai.parse(body, dim=512)
    except InvalidRequest:
        return
    assert all(isinstance(item, Item) for item in request.items)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (429, "rate_limit_error"),
        (504, "server_error"),
    ],
)
def test_a_failure_has_openais_type(status: int, kind: str) -> None:
    reply = {"error": "why", "code": "X", "retryable": False, "request_id": None}
    assert openai.failure(reply, status) == {"error": {"message": "why", "type": kind, "param": None, "code": "X"}}
