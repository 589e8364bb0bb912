"""Every form in which the platform and the SDK's versions have told a job's fate."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdex_clip._envelope import Answer, http_failure, read_envelope
from heimdex_clip.errors import (
    AuthFailed,
    BadReply,
    ClipError,
    EndpointUnauthorized,
    EndpointUnavailable,
    ImageInvalid,
    Internal,
    InvalidRequest,
)

TRACEBACK = json.dumps({"error_type": "<class 'KeyError'>", "error_message": "'x'", "error_traceback": "Traceback"})
OURS = {"error": "Authentication failed", "code": "AUTH_FAILED", "retryable": False, "request_id": "r"}
WITHOUT_MESSAGE = {name: value for name, value in OURS.items() if name != "error"}


def body(status: str = "FAILED", **fields: object) -> bytes:
    return json.dumps({"id": "j", "status": status, **fields}).encode()


@pytest.mark.parametrize(
    "text",
    [
        body(error="Authentication failed", output=WITHOUT_MESSAGE),  # SDK 1.12
        body("COMPLETED", output=OURS),  # older SDKs
        body(error=OURS),
        body(error=json.dumps(OURS)),
        body(output=OURS, error=json.dumps({"error": OURS})),
        body("COMPLETED", error="Authentication failed", output=WITHOUT_MESSAGE),
    ],
)
def test_the_workers_own_failure_in_every_form(text: bytes) -> None:
    failure = read_envelope(text).failure
    assert type(failure) is AuthFailed
    assert failure.message == "Authentication failed"
    assert not failure.retryable


def test_the_reply_says_whether_a_retry_helps() -> None:
    output = {"code": "IMAGE_INVALID", "retryable": True}
    failure = read_envelope(body(error="odd", output=output)).failure
    assert isinstance(failure, ImageInvalid)
    assert failure.retryable


@pytest.mark.parametrize("text", [body(error=TRACEBACK), body(error=json.loads(TRACEBACK))])
def test_an_escaped_exception_never_shows_its_traceback(text: bytes) -> None:
    failure = read_envelope(text).failure
    assert type(failure) is Internal
    assert "Traceback" not in failure.message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("executionTimeout exceeded", "executionTimeout exceeded"),
        ("two\nlines \x1b[31m", "two lines ?[31m"),
        ("{not json", "{not json"),
        (None, "no reason given"),
        ("", "no reason given"),
        ({}, "no reason given"),
        ({"message": "out of memory"}, "out of memory"),
        ({"error": {"error": {"error": {"error": {"error": "deep"}}}}}, "no reason given"),
    ],
)
def test_a_failure_of_the_platform_is_told_in_one_line(error: object, message: str) -> None:
    failure = read_envelope(body(error=error)).failure
    assert type(failure) is EndpointUnavailable
    assert failure.message == f"the job failed: {message}"
    assert failure.retryable


def test_states_on_the_way() -> None:
    queued, running = read_envelope(body("IN_QUEUE")), read_envelope(body("IN_PROGRESS", delayTime=1500))
    assert (queued.pending, queued.queued, queued.job_id) == (True, True, "j")
    assert (running.pending, running.queued, running.delay_s) == (True, False, 1.5)
    assert read_envelope(body("IN_PROGRESS", delayTime="soon")).delay_s == 0
    assert read_envelope(body("IN_PROGRESS", delayTime=-5)).delay_s == 0
    assert read_envelope(body("IN_PROGRESS", delayTime=10**400)).delay_s > 0


def test_a_result() -> None:
    envelope = read_envelope(body("COMPLETED", output={"a": 1}, delayTime=3, executionTime=4))
    assert (envelope.pending, envelope.failure, envelope.output) == (False, None, {"a": 1})


@pytest.mark.parametrize(("status", "retryable"), [("TIMED_OUT", True), ("CANCELLED", False)])
def test_jobs_given_up(status: str, retryable: bool) -> None:  # a parameter of the table
    failure = read_envelope(body(status)).failure
    assert isinstance(failure, EndpointUnavailable)
    assert failure.retryable is retryable


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"id": "j"}',
        b'{"id": 1, "status": "COMPLETED", "output": {"a": 1}}',
        *(json.dumps({"id": job_id, "status": "IN_PROGRESS"}).encode() for job_id in ("", "..", "a/b", "a?b", "a\x00")),
        body("NEW_STATE"),
        body("COMPLETED"),
        body("COMPLETED", output=None),
        body("COMPLETED", output=[1]),
    ],
)
def test_an_answer_of_another_form_is_a_bad_reply(text: bytes) -> None:
    with pytest.raises(BadReply):
        read_envelope(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "code", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(["IN_QUEUE", "FAILED", "COMPLETED", "TIMED_OUT", "x"]), JSON, JSON)
def test_whatever_comes_is_an_envelope_or_a_bad_reply(status: str, error: object, output: object) -> None:
    try:
        envelope = read_envelope(body(status, error=error, output=output))
    except BadReply:
        return
    assert envelope.failure is None or "\n" not in envelope.failure.message


@pytest.mark.parametrize(
    ("status", "error", "retryable"),
    [
        (400, EndpointUnavailable, False),
        (401, EndpointUnauthorized, False),
        (403, EndpointUnauthorized, False),
        (404, EndpointUnavailable, False),
        (408, EndpointUnavailable, True),
        (413, InvalidRequest, False),
        (429, EndpointUnavailable, True),
        (302, EndpointUnavailable, False),
        (500, EndpointUnavailable, True),
        (502, EndpointUnavailable, True),
        (None, EndpointUnavailable, True),
    ],
)
def test_http_statuses(status: int | None, error: type[ClipError], retryable: bool) -> None:  # as above
    failure = http_failure(Answer(status, fault="ConnectError"))
    assert type(failure) is error
    assert failure.retryable is retryable


def test_an_answered_call_has_no_failure() -> None:
    assert http_failure(Answer(200)) is None
