"""What a client sends, read back as a worker reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdex_clip import signing
from heimdex_clip._request import MAX_RUN_BYTES, Signer, check, check_size, job_body, to_json
from heimdex_clip.errors import InvalidRequest, SettingsError

NOW = 1_700_000_000.5
FIELDS = {"image_url": "https://images.example/ä.jpg", "request_id": "r", "normalize": False}


def body(signer: Signer, fields: Any = FIELDS, ttl_s: float = 45.2, execution_timeout_s: float = 20) -> Any:
    return json.loads(job_body(signer, fields, now=NOW, ttl_s=ttl_s, execution_timeout_s=execution_timeout_s))


def test_v2_signs_everything_for_its_audience_and_outlives_the_job() -> None:
    sent = body(Signer("s", "ep-1", kid="next"))
    payload = sent["input"]["payload"]
    assert signing.verify_v2(payload, sent["input"]["auth"], keys={"next": "s"}) == "next"
    said = json.loads(payload)
    assert said == {**FIELDS, "aud": "ep-1", "exp": said["exp"]}
    assert sent["policy"] == {"ttl": 46_000, "executionTimeout": 20_000}
    assert said["exp"] >= NOW + 46


def test_v1_signs_the_url() -> None:
    sent = body(Signer("s", "ep-1", version=1))["input"]
    assert sent == {**FIELDS, "auth": signing.sign_v1(FIELDS["image_url"], secret="s", ts=int(NOW))}  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{"text": "a"}, {"items": []}, {"op": "info"}])
def test_v1_can_say_nothing_else(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="auth_version=2"):
        body(Signer("s", "e", version=1), fields)


def test_the_policy_never_goes_below_what_the_platform_takes() -> None:
    assert body(Signer("s", "e"), ttl_s=0.1, execution_timeout_s=0.1)["policy"] == {
        "ttl": 10_000,
        "executionTimeout": 6_000,
    }


def test_an_empty_secret_signs_nothing() -> None:
    with pytest.raises(SettingsError):
        body(Signer("", "e"))


def test_a_signer_shows_no_secret() -> None:
    assert "s3cret" not in repr(Signer("s3cret", "e"))


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_arrives_as_it_was_signed(text: str, secret: str) -> None:
    signer = Signer(secret or "s", "e")
    job_input = body(signer, {"text": text})["input"]
    signing.verify_v2(job_input["payload"], job_input["auth"], keys={"default": signer.secret})
    assert json.loads(job_input["payload"])["text"] == text


@pytest.mark.parametrize(
    "fields",
    [
        {"image_url": 1},
        {"image_url": "u", "text": "t"},
        {"items": [{"image_url": "u"}, {"text": 3}]},
        {"items": []},
        {"text": "t", "unknown": 1},
    ],
)
def test_what_no_worker_takes_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        check(fields)


def test_a_body_over_the_limit_says_how_many_items_fit() -> None:
    items = [{"text": 'quotes " and \\ grow' + "x" * length} for length in (100, 200, 300, 400)]
    signer = Signer("s", "e")

    def size(count: int) -> bytes:
        return job_body(signer, {"items": items[:count]}, now=NOW, ttl_s=60, execution_timeout_s=20)

    # The limit that exactly three fit into, but for a byte or two of commas.
    limit = len(size(3)) + 3
    check_size(size(3), items[:3], max_bytes=limit)
    with pytest.raises(InvalidRequest, match=f"at most {limit}, which the first 3 of these 4 items fit into"):
        check_size(size(4), items, max_bytes=limit)


def test_a_single_body_over_the_limit_says_both_sizes() -> None:
    check_size(b"x" * MAX_RUN_BYTES, max_bytes=MAX_RUN_BYTES)
    with pytest.raises(InvalidRequest, match=r"has 10000001 bytes; the platform takes at most 10000000$"):
        check_size(b"x" * (MAX_RUN_BYTES + 1), max_bytes=MAX_RUN_BYTES)


@pytest.mark.parametrize("value", ["\ud800", float("nan"), {1: object()}])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="no JSON form"):
        to_json(value)
