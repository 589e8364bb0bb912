"""The wire contract: what a request may hold, what a reply holds, and what neither may."""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdex_clip import contract
from heimdex_clip.contract import (
    Embedding,
    EmbedRequest,
    Encoding,
    ImageData,
    ImageUrl,
    InfoRequest,
    Item,
    Rejected,
    Text,
    decode_vector,
    embedding_reply,
    encode_vector,
    error_from_reply,
    error_reply,
    one_line,
    parse_embedding,
    parse_request,
    request_id_of,
)
from heimdex_clip.errors import (
    WIRE_ERRORS,
    BadReply,
    ClipError,
    DownloadFailed,
    EndpointUnavailable,
    Internal,
    InvalidRequest,
)
from worker.settings import Settings

PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
URL = {"image_url": "https://images.example/cat.jpg"}
AUTH = {"ts": "1700000000", "sig": "00"}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
FIELDS = ["image_url", "image_base64", "text", "items", "op", "request_id", "normalize", "model", "encoding", "auth"]
REQUESTS = st.dictionaries(
    st.sampled_from([*FIELDS, "unknown"]),
    JSON
    | st.sampled_from(["info", "embed", "base64", "aGk=", True])
    | st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3), max_size=3),
)


# ---- requests


def test_an_image_by_url_with_every_default() -> None:
    assert parse_request(URL, strict=True) == EmbedRequest((Item(ImageUrl(URL["image_url"]), None),), batch=False)


def test_an_image_by_url_with_every_field() -> None:
    fields = {**URL, "auth": AUTH, "request_id": "r", "normalize": False, "model": "m", "encoding": "base64"}
    item = Item(ImageUrl(URL["image_url"], AUTH), "r", normalize=False)
    request = EmbedRequest((item,), batch=False, model="m", encoding="base64")
    assert parse_request({**fields, "op": "embed"}, strict=True) == request
    assert parse_request({**fields, "op": None, "model": "m"}, strict=False) == request


def test_an_image_sent_along_and_a_text() -> None:
    image = parse_request({"image_base64": "/9j/4A=="}, strict=True)
    assert image == EmbedRequest((Item(ImageData(b"\xff\xd8\xff\xe0"), None),), batch=False)
    text = parse_request({"text": ""}, strict=True)
    assert text == EmbedRequest((Item(Text(""), None),), batch=False)


def test_a_batch_keeps_its_order_and_sets_bad_items_apart() -> None:
    rows = [{**URL, "auth": AUTH, "request_id": "a"}, {"request_id": "b"}, 7, {"text": "t", "request_id": 5}]
    request = parse_request({"items": rows}, strict=False)
    assert isinstance(request, EmbedRequest)
    assert request.batch
    first, *rejected = request.items
    assert first == Item(ImageUrl(URL["image_url"], AUTH), "a")
    assert [(item.request_id, type(item)) for item in rejected] == [("b", Rejected), (None, Rejected), (None, Rejected)]


def test_a_batch_of_one_is_a_batch() -> None:
    request = parse_request({"items": [URL]}, strict=True)
    assert isinstance(request, EmbedRequest)
    assert request.batch


def test_info() -> None:
    assert parse_request({"op": "info", "request_id": "r", "aud": "e", "exp": 1}, strict=True) == InfoRequest("r")
    assert parse_request({"op": "info", "request_id": 5}, strict=True) == InfoRequest(None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "the request must be a JSON object"),
        ([URL], "the request must be a JSON object"),
        ({}, "exactly one of"),
        ({"image_url": None}, "exactly one of"),
        ({**URL, "text": "t"}, "exactly one of"),
        ({"image_url": 5}, "image_url must be a string"),
        ({"image_url": "x" * 8193}, "image_url has 8193 characters; at most 8192"),
        ({"text": ["a"]}, "text must be a string"),
        ({"text": "x" * 32769}, "text has 32769 characters; at most 32768"),
        ({"text": "\udc00"}, "text holds half of a surrogate pair"),
        ({**URL, "request_id": 5}, "request_id must be a string"),
        ({**URL, "request_id": "x" * 257}, "request_id has 257 characters"),
        ({**URL, "request_id": "\ud800"}, "request_id holds half"),
        ({**URL, "normalize": 1}, "normalize must be true or false"),
        ({**URL, "normalize": "true"}, "normalize must be true or false"),
        ({**URL, "model": 1}, "model must be a string"),
        ({**URL, "encoding": "hex"}, "encoding must be"),
        ({**URL, "encoding": ["float"]}, "encoding must be"),
        ({**URL, "auth": "sig"}, "auth must be an object"),
        ({**URL, "op": "delete"}, "op must be"),
        ({"image_base64": ""}, "image_base64 must be a string that is not empty"),
        ({"image_base64": 5}, "image_base64 must be a string"),
        ({"image_base64": "a"}, "image_base64 is not base64"),
        ({"image_base64": "aGk=\n"}, "image_base64 is not base64"),
        ({"image_base64": "aGk_"}, "image_base64 is not base64"),
        ({"image_base64": "é==="}, "image_base64 is not base64"),
        ({"items": []}, "items must be a list with at least one"),
        ({"items": {}}, "items must be a list"),
        ({"items": None}, "items must be a list"),
        ({"items": [URL], **URL}, "either items or one image or text"),
    ],
)
def test_a_request_of_another_form_is_refused_with_the_field_named(body: object, message: str) -> None:
    for strict in (True, False):
        with pytest.raises(InvalidRequest, match=re.escape(message)):
            parse_request(body, strict=strict)


def test_unknown_fields_are_refused_only_where_everything_is_signed() -> None:
    fields = {**URL, "normalise": False}
    with pytest.raises(InvalidRequest, match="unknown field: 'normalise'"):
        parse_request(fields, strict=True)
    assert parse_request(fields, strict=False) == parse_request(URL, strict=True)
    batch = parse_request({"items": [fields, URL]}, strict=True)
    assert isinstance(batch, EmbedRequest)
    assert [type(item) for item in batch.items] == [Rejected, Item]


def test_an_unknown_fields_name_is_shown_safely() -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_request({"\ud800\n" + "x" * 1000: 1}, strict=True)
    assert raised.value.message.isascii()
    assert len(raised.value.message) < 80


@given(JSON | REQUESTS, st.booleans())
def test_whatever_comes_only_invalid_request_is_raised(body: object, strict: bool) -> None:
    message = ""
    try:
        request = parse_request(body, strict=strict)
    except InvalidRequest as error:
        message = error.message
    else:
        assert isinstance(request, InfoRequest) or len(request.items) >= 1
    assert message.isprintable()


@given(JSON | REQUESTS)
def test_a_request_id_for_the_reply_can_always_be_told(body: object) -> None:
    found = request_id_of(body)
    assert found is None or (isinstance(body, dict) and found == body["request_id"] and found.encode() is not None)


# ---- replies

EMBEDDING = Embedding(
    request_id="r",
    vector=(0.5, -0.25, 1.0),
    dim=3,
    model="ViT-B-32",
    pretrained="openai",
    normalized=True,
    model_digest="0123456789abcdef",
    lane="cpu",
    timings={"total_ms": 1.5, "decode_ms": 1},
)


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("changed", [{}, {"request_id": None}, {"truncated": True}, {"normalized": False}])
def test_an_embedding_survives_the_wire(encoding: Encoding, changed: dict[str, Any]) -> None:
    embedding = replace(EMBEDDING, **changed)
    reply = json.loads(json.dumps(embedding_reply(embedding, encoding)))
    assert parse_embedding(reply) == embedding
    assert ("truncated" in reply) is embedding.truncated


def test_the_reply_has_exactly_the_fields_of_v1() -> None:
    assert set(embedding_reply(EMBEDDING, "float")) == {
        "request_id",
        "embedding",
        "dim",
        "model",
        "pretrained",
        "normalized",
        "timings",
        "model_digest",
        "lane",
    }


MISSING = object()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request_id", 5),
        ("embedding", MISSING),
        ("embedding", [0.5, "x", 1.0]),
        ("embedding", [0.5, True, 1.0]),
        ("embedding", [0.5, math.nan, 1.0]),
        ("embedding", [0.5, math.inf, 1.0]),
        ("embedding", [0.5, 10**400, 1.0]),
        ("embedding", {"0": 0.5}),
        ("embedding", "not base64"),
        ("embedding", "AAA="),
        ("embedding", "é"),
        ("embedding", encode_vector((0.5, math.nan, 1.0))),
        ("embedding", [0.5]),
        ("dim", MISSING),
        ("dim", 4),
        ("dim", 3.0),
        ("dim", True),
        ("model", MISSING),
        ("model", 1),
        ("pretrained", None),
        ("normalized", MISSING),
        ("normalized", 1),
        ("model_digest", MISSING),
        ("lane", []),
        ("timings", MISSING),
        ("timings", []),
        ("timings", {"total_ms": "1"}),
        ("truncated", "yes"),
        ("truncated", None),
    ],
)
def test_a_reply_with_a_bad_field_is_refused_and_the_field_named(name: str, value: object) -> None:
    reply = {**embedding_reply(EMBEDDING, "float"), name: value}
    if value is MISSING:
        del reply[name]
    with pytest.raises(BadReply, match=name):
        parse_embedding(reply)


@pytest.mark.parametrize("reply", [None, [], "x", 1])
def test_a_reply_that_is_no_object_is_refused(reply: object) -> None:
    with pytest.raises(BadReply, match="not a JSON object"):
        parse_embedding(reply)


def test_an_empty_vector_is_no_embedding() -> None:
    with pytest.raises(BadReply, match="dim"):
        parse_embedding({**embedding_reply(EMBEDDING, "float"), "embedding": [], "dim": 0})


@given(JSON | st.dictionaries(st.sampled_from(["embedding", "dim", "timings"]), JSON))
def test_whatever_comes_only_bad_reply_is_raised(reply: object) -> None:
    with pytest.raises(BadReply):
        parse_embedding(reply)


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_both_encodings_are_exact_for_float32(vector: list[float]) -> None:
    assert decode_vector(encode_vector(vector)) == tuple(vector)
    assert decode_vector(json.loads(json.dumps(vector))) == tuple(vector)


def test_base64_is_little_endian_float32() -> None:
    assert encode_vector((1.0, -2.0)) == "AACAPwAAAMA="
    assert struct.pack("<2f", 1.0, -2.0).hex() == "0000803f000000c0"


@pytest.mark.parametrize("kind", WIRE_ERRORS.values())
def test_a_failure_survives_the_wire(kind: type[ClipError]) -> None:
    sent = kind("one line")
    reply = json.loads(json.dumps(error_reply(sent, "r")))
    assert reply == {"error": "one line", "code": kind.code, "retryable": kind.retryable, "request_id": "r"}
    read = error_from_reply(reply)
    assert (type(read), read.message, read.retryable) == (kind, sent.message, sent.retryable)


def test_an_instances_own_retryable_travels() -> None:
    assert not error_from_reply(error_reply(DownloadFailed("404", retryable=False), None)).retryable


def test_what_is_not_of_the_contract_leaves_as_internal() -> None:
    reply = error_reply(EndpointUnavailable("inside story"), None)
    assert (reply["code"], reply["error"]) == ("INTERNAL", "Internal error")


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        ({}, Internal, "INTERNAL"),
        ({"code": "NEW_CODE", "error": "e"}, Internal, "e"),
        ({"code": ["AUTH_FAILED"], "error": "e"}, Internal, "e"),
        ({"code": "OVERLOADED"}, WIRE_ERRORS["OVERLOADED"], "OVERLOADED"),
        ({"code": "OVERLOADED", "error": {"a": 1}, "retryable": "no"}, WIRE_ERRORS["OVERLOADED"], "OVERLOADED"),
    ],
)
def test_a_failure_of_another_form_is_still_one(reply: dict[str, object], kind: type[ClipError], message: str) -> None:
    error = error_from_reply(reply)
    assert (type(error), error.message, error.retryable) == (kind, message, True)


@given(st.text())
def test_a_message_from_elsewhere_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= 500


# ---- docs/protocol.md


def test_the_protocols_limits_are_the_ones_in_force() -> None:
    limits = dict(re.findall(r"^\| (.+?) \| (\d+)\b.* \| .+ \|$", PROTOCOL, re.MULTILINE))
    settings = Settings()
    assert limits["items in a batch"] == str(settings.max_batch_items)
    assert limits["encoded image"] == str(settings.max_image_bytes)
    assert limits["image, before or after resizing"] == str(settings.max_image_pixels)
    assert limits["`image_url`"] == str(contract.MAX_URL_CHARS)
    assert limits["`text`"] == str(contract.MAX_TEXT_CHARS)
    assert limits["`request_id`"] == str(contract.MAX_REQUEST_ID_CHARS)
    assert limits["life of a v1 signature"] == str(settings.auth_window_s)
    assert limits["one download"] == f"{settings.download_timeout_s:g}"


def test_the_protocols_examples_are_in_the_contract() -> None:
    examples = [json.loads(block) for block in re.findall(r"```json\n(\{.*?\})\n```", PROTOCOL, re.DOTALL)]
    requests = [example for example in examples if "image_url" in example or "items" in example]
    requests += [json.loads(example["payload"]) for example in examples if "payload" in example]
    assert len(requests) == 3
    for request in requests:
        parsed = parse_request(request, strict=True)
        assert isinstance(parsed, EmbedRequest)
        assert not any(isinstance(item, Rejected) for item in parsed.items)
    (reply,) = [example for example in examples if "embedding" in example]
    assert parse_embedding({**reply, "dim": len(reply["embedding"])}).model == "ViT-B-32"
    (failure,) = [example for example in examples if example.get("status") == "FAILED"]
    assert error_from_reply({**failure["output"], "error": failure["error"]}).code == "AUTH_FAILED"


def test_more_items_than_any_worker_takes_are_refused_before_they_are_read() -> None:
    (most,) = (field.metadata["parse"] for field in fields(Settings) if field.name == "max_batch_items")
    assert most(str(contract.MAX_ITEMS)) == contract.MAX_ITEMS
    request = parse_request({"items": [None] * contract.MAX_ITEMS}, strict=False)
    assert isinstance(request, EmbedRequest)
    with pytest.raises(InvalidRequest, match="4097 items; no worker takes more than 4096"):
        parse_request({"items": [None] * (contract.MAX_ITEMS + 1)}, strict=False)
