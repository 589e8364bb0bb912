"""Every way to ask, signed well, badly, or as somebody else."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdex_clip.contract import EmbedRequest, ImageData, ImageUrl, InfoRequest, Item, Rejected, Text
from heimdex_clip.errors import AuthExpired, AuthFailed, ClipError, InvalidRequest, SettingsError
from heimdex_clip.signing import sign_v1, sign_v2
from worker.authentication import AuthenticatedRequest, Authenticator, AuthPolicy

NOW = 1_800_000_000
SECRET, OTHER = "a-secret-of-the-test", "another-secret"
KEYS = {"default": SECRET, "next": OTHER}
URL = "https://images.example/a.jpg?x=1"
AUDIENCE = "endpoint-1"


def authenticator(now: float = NOW, *, accept_v1: bool = True, keys: Mapping[str, str] = KEYS) -> Authenticator:
    policy = AuthPolicy(keys=keys, window_s=120, audience=AUDIENCE, accept_v1=accept_v1, insecure=False)
    return Authenticator(policy, clock=lambda: now)


def insecure() -> Authenticator:
    policy = AuthPolicy(keys={}, window_s=120, audience=AUDIENCE, accept_v1=True, insecure=True)
    return Authenticator(policy, clock=lambda: NOW)


def v1(url: str = URL, *, secret: str = SECRET, ts: int = NOW, **fields: object) -> dict[str, object]:
    return {"image_url": url, "request_id": "r", "auth": dict(sign_v1(url, secret=secret, ts=ts)), **fields}


def signed(payload: str, *, secret: str = SECRET, kid: str = "default") -> dict[str, object]:
    return {"payload": payload, "auth": dict(sign_v2(payload, secret=secret, kid=kid))}


def v2(**fields: object) -> dict[str, object]:
    return signed(json.dumps({"text": "a dog", "aud": AUDIENCE, "exp": NOW + 60, **fields}))


def embed(result: AuthenticatedRequest) -> EmbedRequest:
    assert isinstance(result.request, EmbedRequest)
    return result.request


def sources(result: AuthenticatedRequest) -> list[object]:
    return [item.source if isinstance(item, Item) else item.error for item in embed(result).items]


# ---- v1 ----------------------------------------------------------------------------------------


def test_v1_single() -> None:
    result = authenticator().authenticate(v1(normalize=False, model="ViT-B-32", surplus="ignored"))
    (item,) = embed(result).items
    assert isinstance(item, Item)
    assert isinstance(item.source, ImageUrl)
    assert (item.source.url, item.request_id, item.normalize) == (URL, "r", False)
    assert (embed(result).model, embed(result).batch) == ("ViT-B-32", False)
    assert (result.kid, result.expires_at) == ("default", None)


def test_v1_tries_every_key() -> None:
    assert authenticator().authenticate(v1(secret=OTHER)).kid == "next"


@pytest.mark.parametrize(
    "job_input",
    [
        v1(image_url="https://images.example/b.jpg"),  # the signature of another URL
        v1(image_url=URL + "|"),
        v1(secret="unknown"),
        v1(ts=NOW + 121),
        v1(auth=None),
        v1(auth={}),
        v1(auth={"ts": str(NOW)}),
        v1(auth={"ts": str(NOW), "sig": ""}),
        v1(auth={"ts": str(NOW), "sig": "0" * 64}),
        v1(auth={"ts": str(NOW), "sig": "ä" * 64}),
        v1(auth={"ts": str(NOW), "sig": ["0" * 64]}),
        v1(auth={"ts": f" {NOW}", "sig": "0" * 64}),
        v1(auth={**sign_v1(URL, secret=SECRET, ts=NOW), "ts": str(NOW + 1)}),
        v1(op="info"),
        {"op": "info", "auth": dict(sign_v1("", secret=SECRET, ts=NOW))},
        {"text": "a dog", "auth": dict(sign_v1("a dog", secret=SECRET, ts=NOW))},
        {"image_base64": "AAAA", "auth": dict(sign_v1("AAAA", secret=SECRET, ts=NOW))},
        {"image_url": URL},
    ],
)
def test_v1_that_does_not_hold(job_input: dict[str, object]) -> None:
    with pytest.raises(AuthFailed, match=r"^Authentication failed$"):
        authenticator().authenticate(job_input)


def test_v1_expires_with_its_window() -> None:
    assert authenticator(NOW + 120).authenticate(v1()).kid == "default"
    assert authenticator(NOW - 120).authenticate(v1()).kid == "default"
    with pytest.raises(AuthExpired):
        authenticator(NOW + 121).authenticate(v1())


def test_v1_can_be_switched_off() -> None:
    with pytest.raises(AuthFailed):
        authenticator(accept_v1=False).authenticate(v1())
    assert authenticator(accept_v1=False).authenticate(v2()).kid == "default"


def test_v1_batch_verifies_each_item_and_rejects_it_alone() -> None:
    good, expired = v1(request_id="good"), v1(ts=NOW - 121, request_id="expired")
    forged = v1(request_id="forged") | {"image_url": "https://images.example/b.jpg"}
    unsigned = {"image_url": URL, "request_id": "unsigned"}
    text = {"text": "a dog", "request_id": "text", "auth": good["auth"]}
    data = {"image_base64": "AAAA", "request_id": "data", "auth": good["auth"]}
    broken = {"request_id": "broken"}
    rows = [expired, good, forged, unsigned, text, data, broken, "no object"]
    result = authenticator().authenticate({"items": rows, "auth": good["auth"]})
    items = embed(result).items
    assert [item.error.code if isinstance(item, Rejected) else "OK" for item in items] == [
        "AUTH_EXPIRED",
        "OK",
        "AUTH_FAILED",
        "AUTH_FAILED",
        "AUTH_FAILED",
        "AUTH_FAILED",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
    ]
    assert [item.request_id for item in items[:7]] == [
        "expired",
        "good",
        "forged",
        "unsigned",
        "text",
        "data",
        "broken",
    ]
    assert embed(result).batch
    assert result.kid == "default"


def test_v1_batch_names_no_key_when_its_items_differ_in_it() -> None:
    assert authenticator().authenticate({"items": [v1(), v1(secret=OTHER)]}).kid is None
    assert authenticator().authenticate({"items": [v1(secret="unknown")]}).kid is None


def test_a_v1_signature_of_the_batch_covers_none_of_its_items() -> None:
    result = authenticator().authenticate(
        {"items": [{"image_url": URL}], "auth": dict(sign_v1(URL, secret=SECRET, ts=NOW))}
    )
    assert isinstance(embed(result).items[0], Rejected)


# ---- v2 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"text": "a dog"}, [Text("a dog")]),
        ({"text": None, "image_url": URL}, [ImageUrl(URL)]),
        ({"text": None, "image_base64": base64.b64encode(b"abc").decode()}, [ImageData(b"abc")]),
    ],
)
def test_v2_covers_every_source(fields: dict[str, object], expected: list[object]) -> None:
    result = authenticator().authenticate(v2(**fields))
    assert sources(result) == expected
    assert (result.kid, result.expires_at) == ("default", NOW + 60)


def test_v2_covers_batches_and_operations() -> None:
    payload = {"items": [{"text": "a"}, {"image_url": URL}, {"bad": 1}], "aud": AUDIENCE, "exp": NOW + 60}
    result = authenticator().authenticate(signed(json.dumps(payload)))
    assert sources(result)[:2] == [Text("a"), ImageUrl(URL)]
    assert isinstance(embed(result).items[2], Rejected)
    info = authenticator().authenticate(v2(text=None, op="info"))
    assert isinstance(info.request, InfoRequest)


def test_v2_takes_the_named_key_alone() -> None:
    payload = json.dumps({"text": "a dog", "aud": AUDIENCE, "exp": NOW + 60})
    assert authenticator().authenticate(signed(payload, secret=OTHER, kid="next")).kid == "next"
    for secret, kid in ((SECRET, "next"), (OTHER, "default"), (SECRET, "unknown")):
        with pytest.raises(AuthFailed):
            authenticator().authenticate(signed(payload, secret=secret, kid=kid))


def test_v2_covers_the_exact_bytes() -> None:
    good = v2()
    payload = good["payload"]
    assert isinstance(payload, str)
    for changed in (payload.replace("dog", "cat"), payload + " ", payload.replace(": ", ":"), ""):
        with pytest.raises(AuthFailed):
            authenticator().authenticate(good | {"payload": changed})


@pytest.mark.parametrize(
    "auth", [None, {}, [], "sig", {"v": 1}, {"v": 2}, {"v": 2, "kid": "default"}, {"v": 2, "kid": []}]
)
def test_v2_without_a_signature(auth: object) -> None:
    with pytest.raises(AuthFailed):
        authenticator().authenticate(v2() | {"auth": auth})


def test_what_stands_beside_the_payload_is_not_served() -> None:
    result = authenticator().authenticate(v2() | {"image_url": URL, "model": "other", "items": [], "op": "info"})
    assert sources(result) == [Text("a dog")]
    assert embed(result).model is None


@pytest.mark.parametrize("aud", ["endpoint-2", "", None, 1, ["endpoint-1"], "ENDPOINT-1"])
def test_v2_for_another_audience(aud: object) -> None:
    with pytest.raises(AuthFailed):
        authenticator().authenticate(v2(aud=aud))


def test_v2_without_an_audience() -> None:
    with pytest.raises(AuthFailed):
        authenticator().authenticate(signed(json.dumps({"text": "a dog", "exp": NOW + 60})))


def test_v2_lifetime() -> None:
    assert authenticator(NOW + 59.9).authenticate(v2()).expires_at == NOW + 60
    for late in (NOW + 60, NOW + 61, NOW + 10**6):
        with pytest.raises(AuthExpired):
            authenticator(late).authenticate(v2())
    assert authenticator().authenticate(v2(exp=NOW + 86400)).expires_at == NOW + 86400
    for far in (NOW + 86401, 10**400):
        with pytest.raises(AuthFailed):
            authenticator().authenticate(v2(exp=far))


@pytest.mark.parametrize("exp", [None, "1800000060", 1800000060.0, True, [NOW + 60]])
def test_v2_whose_expiry_is_no_whole_number(exp: object) -> None:
    with pytest.raises(InvalidRequest):
        authenticator().authenticate(v2(exp=exp))


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "null",
        "[]",
        '"text"',
        "{",
        "{'text': 'a'}",
        '{"text": "a", "text": "b"}',
        '{"items": [{"text": "a", "text": "b"}]}',
        '{"aud": "endpoint-2", "aud": "endpoint-1"}',
        '{"text": NaN}',
        '{"text": Infinity}',
        '{"text": -Infinity}',
        '{"text": 1e999}',
        '{"text": ' + "9" * 5000 + "}",
        '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "[" * 100_000,
        "\ufeff{}",
    ],
)
def test_v2_whose_payload_is_no_plain_json_object(payload: str) -> None:
    with pytest.raises(InvalidRequest):
        authenticator().authenticate(signed(payload))
    with pytest.raises(InvalidRequest):
        insecure().authenticate({"payload": payload})


@pytest.mark.parametrize("field", ["surplus", "Text", "payload"])
def test_v2_refuses_unknown_fields(field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        authenticator().authenticate(v2(**{field: "x"}))


def test_v2_refuses_a_payload_that_is_too_long_before_any_work() -> None:
    good = v2()
    length = len(str(good["payload"]))
    assert authenticator().authenticate(good, max_payload_chars=length).kid == "default"
    with pytest.raises(InvalidRequest):
        authenticator().authenticate(good, max_payload_chars=length - 1)


# ---- no way down -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "job_input",
    [
        v1(payload=None),
        v1(payload=""),
        v1(payload={}),
        v1(payload='{"text": "a dog"}'),
        v1() | {"auth": {**sign_v1(URL, secret=SECRET, ts=NOW), "v": 2}},
        v1() | {"auth": {**sign_v1(URL, secret=SECRET, ts=NOW), "v": 2.0}},
    ],
)
def test_what_looks_like_v2_is_never_tried_as_v1(job_input: dict[str, object]) -> None:
    with pytest.raises((AuthFailed, InvalidRequest)):
        authenticator().authenticate(job_input)


def test_a_v1_signature_is_none_of_v2_and_the_other_way_round() -> None:
    payload = json.dumps({"text": "a dog", "aud": AUDIENCE, "exp": NOW + 60})
    old = {"v": 2, "kid": "default", **sign_v1(payload, secret=SECRET, ts=NOW)}
    with pytest.raises(AuthFailed):
        authenticator().authenticate({"payload": payload, "auth": old})
    new = sign_v2(URL, secret=SECRET)
    with pytest.raises(AuthFailed):
        authenticator().authenticate({"image_url": URL, "auth": {"ts": str(NOW), "sig": new["sig"]}})


# ---- policy ------------------------------------------------------------------------------------


def test_no_keys_accept_nobody() -> None:
    for job_input in (v1(), v2(), {"text": "a dog"}):
        with pytest.raises(AuthFailed):
            authenticator(keys={}).authenticate(job_input)


@pytest.mark.parametrize(
    ("job_input", "expected"),
    [
        ({"image_url": URL}, [ImageUrl(URL)]),
        ({"text": "a dog"}, [Text("a dog")]),
        ({"items": [{"text": "a"}, {"image_url": URL}]}, [Text("a"), ImageUrl(URL)]),
        ({"payload": '{"text": "a dog"}'}, [Text("a dog")]),
        (v2(aud="endpoint-2", exp=1), [Text("a dog")]),
    ],
)
def test_insecure_accepts_everything_unsigned(job_input: dict[str, object], expected: list[object]) -> None:
    result = insecure().authenticate(job_input)
    assert sources(result) == expected
    assert (result.kid, result.expires_at) == (None, None)


def test_insecure_still_reads_the_form() -> None:
    assert isinstance(insecure().authenticate({"op": "info"}).request, InfoRequest)
    for job_input in ({}, {"payload": 1}, {"payload": '{"surplus": 1}'}, {"image_url": 1}):
        with pytest.raises(InvalidRequest):
            insecure().authenticate(job_input)


def test_a_policy_never_shows_its_secrets() -> None:
    policy = AuthPolicy(keys=KEYS, window_s=120, audience=AUDIENCE, accept_v1=True, insecure=False)
    assert SECRET not in repr(policy)
    assert OTHER not in repr(policy)


@pytest.mark.parametrize(("keys", "unsigned"), [({"default": ""}, False), (KEYS, True)])
def test_a_policy_that_contradicts_itself_is_refused(keys: dict[str, str], unsigned: bool) -> None:
    with pytest.raises(SettingsError) as caught:
        AuthPolicy(keys=keys, window_s=120, audience=AUDIENCE, accept_v1=True, insecure=unsigned)
    assert SECRET not in str(caught.value)


# ---- anything at all ---------------------------------------------------------------------------

_TEXTS = st.text() | st.sampled_from(["default", AUDIENCE, str(NOW), "0" * 64, URL, "info", "\ud800"])
_FIELDS = st.sampled_from(
    ["payload", "auth", "v", "kid", "sig", "ts", "aud", "exp", "op", "items", "text", "image_url", "image_base64"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS | st.just(2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_FIELDS | st.text(), inner, max_size=6),
    max_leaves=20,
)


def attempt(asked: Authenticator, job_input: object) -> AuthenticatedRequest | ClipError:
    try:
        return asked.authenticate(job_input)
    except ClipError as error:
        return error


@given(st.dictionaries(_FIELDS, _JSON) | _JSON)
def test_only_our_errors_escape_and_nothing_unsigned_is_served(job_input: object) -> None:
    result = attempt(authenticator(), job_input)
    if isinstance(result, ClipError):
        assert isinstance(result, AuthFailed | InvalidRequest)
        assert result.message.isascii()
    else:
        assert all(isinstance(item, Rejected) for item in embed(result).items)


@given(_JSON)
def test_only_our_errors_escape_what_is_signed(value: object) -> None:
    fields = value if isinstance(value, dict) else {}
    for content in (value, fields | {"aud": AUDIENCE, "exp": NOW + 60}):
        result = attempt(authenticator(), signed(json.dumps(content)))
        if isinstance(result, ClipError):
            assert result.message.isascii()
        else:
            assert result.kid == "default"


@given(st.dictionaries(_FIELDS, _JSON) | _JSON)
def test_only_our_errors_escape_the_insecure(job_input: object) -> None:
    result = attempt(insecure(), job_input)
    if isinstance(result, ClipError):
        assert isinstance(result, InvalidRequest | AuthFailed)
    else:
        assert result.kid is None
