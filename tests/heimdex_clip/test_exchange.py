"""The course of one job, step by step, on a clock that the test owns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from heimdex_clip._envelope import Answer
from heimdex_clip._exchange import Call, Job, Pause, run_job
from heimdex_clip.errors import (
    AuthExpired,
    BadReply,
    ClipError,
    DeadlineExceeded,
    DownloadFailed,
    EndpointUnauthorized,
    EndpointUnavailable,
    ImageInvalid,
    InferenceFailed,
    Internal,
    Overloaded,
)

OUTPUT = {"request_id": "r"}


class Run:
    """Drives an exchange to its end; `answer` gives each call's answer and may move the clock."""

    def __init__(self, answer: Callable[[Run, Call], Answer], *, timeout_s: float = 60, attempt_s: float = 20) -> None:
        self.now = 1000.0
        self.calls: list[Call] = []
        self.paths: list[str] = []
        self.policies: list[tuple[float, float]] = []
        self.output: Mapping[str, object] | None = None
        self.error: ClipError | None = None
        job = Job(self._build, timeout_s, attempt_s, clock=lambda: self.now, spread=lambda upper: upper)
        exchange, given = run_job(job), None
        try:
            while True:
                step = exchange.send(given)
                if isinstance(step, Pause):
                    self.now += step.seconds
                    given = None
                else:
                    self.calls.append(step)
                    self.paths.append(step.path.split("?")[0].split("/")[1])
                    given = answer(self, step)
        except StopIteration as stop:
            self.output = stop.value
        except ClipError as error:
            self.error = error

    def _build(self, ttl_s: float, execution_timeout_s: float) -> bytes:
        self.policies.append((ttl_s, execution_timeout_s))
        return b"signed at %d" % self.now


def envelope(status: str, **fields: object) -> Answer:
    return Answer(200, json.dumps({"id": "job-1", "status": status, **fields}).encode())


def failed(code: str, *, retryable: bool = True) -> Answer:
    return envelope("FAILED", error="no", output={"code": code, "retryable": retryable})


DONE = envelope("COMPLETED", output=OUTPUT)
SILENCE = Answer(None, fault="ReadTimeout")


def in_turn(*answers: Answer, after_s: float = 0.0) -> Callable[[Run, Call], Answer]:
    """One answer a call, each after `after_s`; the last again and again."""
    left = list(answers)

    def answer(run: Run, _call: Call) -> Answer:
        run.now += after_s
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def test_the_usual_course_is_one_call() -> None:
    run = Run(in_turn(DONE))
    assert run.output == OUTPUT
    (call,) = run.calls
    assert (call.method, call.path, call.body) == ("POST", "/runsync?wait=20000", b"signed at 1000")
    assert run.policies == [(60, 20)]
    assert 20 < call.timeout_s < 60


def test_the_platforms_wait_ends_before_the_deadline() -> None:
    run = Run(in_turn(DONE), timeout_s=10)
    assert run.calls[0].path == "/runsync?wait=9000"
    assert run.calls[0].timeout_s == 10
    assert run.policies == [(10, 10)]


@pytest.mark.parametrize("timeout_s", [0.01, 1, 1.5, 3600])
def test_the_wait_asked_for_is_one_that_the_platform_takes(timeout_s: float) -> None:
    (call,) = Run(in_turn(DONE), timeout_s=timeout_s, attempt_s=3600).calls
    assert 1000 <= int(call.path.split("=")[1]) <= 300_000
    assert call.timeout_s <= timeout_s


def test_a_pending_job_is_polled_less_and_less_often() -> None:
    run = Run(in_turn(envelope("IN_QUEUE"), *[envelope("IN_PROGRESS")] * 5, DONE))
    assert run.output == OUTPUT
    assert run.paths == ["runsync"] + ["status"] * 6
    assert run.calls[1].path == "/status/job-1"
    assert run.now - 1000 == pytest.approx(0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 2)


def test_a_question_that_fails_does_not_lose_the_job() -> None:
    pending = envelope("IN_PROGRESS")
    run = Run(in_turn(pending, Answer(503), SILENCE, Answer(429), pending, DONE))
    assert run.output == OUTPUT
    assert run.paths.count("runsync") == 1


@pytest.mark.parametrize("lost", [Answer(404), envelope("TIMED_OUT")])
def test_a_job_that_the_platform_lost_is_submitted_again(lost: Answer) -> None:
    run = Run(in_turn(envelope("IN_PROGRESS"), lost, DONE))
    assert run.output == OUTPUT
    assert run.paths == ["runsync", "status", "runsync"]


def test_a_job_that_a_worker_lost_is_cancelled_and_submitted_again() -> None:
    answers = {"runsync": [envelope("IN_PROGRESS"), DONE], "status": [envelope("IN_PROGRESS")] * 99}

    def answer(run: Run, call: Call) -> Answer:
        run.now += 20 if call.path.startswith("/runsync") else 0
        return Answer(200) if "cancel" in call.path else answers[call.path.split("?")[0].split("/")[1]].pop(0)

    run = Run(answer)
    assert run.output == OUTPUT
    assert run.paths == ["runsync", "cancel", "runsync"]
    assert run.calls[1].path == "/cancel/job-1"
    assert run.policies[1][0] < 40


def test_time_in_the_queue_is_not_held_against_a_worker() -> None:
    # 30 s of cold start, seen by polling; then the platform says how long it took.
    queued = [envelope("IN_QUEUE")] * 10
    taken = [envelope("IN_PROGRESS", delayTime=30_000)] * 3
    run = Run(in_turn(*queued, *taken, DONE, after_s=3), timeout_s=200, attempt_s=20)
    assert run.output == OUTPUT
    assert run.paths.count("runsync") == 1
    run = Run(in_turn(envelope("IN_PROGRESS", delayTime=15_000), DONE, after_s=20), attempt_s=20)
    assert run.paths == ["runsync", "status"]


def test_at_the_deadline_a_pending_job_is_cancelled() -> None:
    run = Run(in_turn(envelope("IN_QUEUE")), timeout_s=5)
    assert isinstance(run.error, DeadlineExceeded)
    assert run.paths[-1] == "cancel"
    assert run.now == 1005


def test_silence_until_the_deadline_is_the_deadline() -> None:
    run = Run(in_turn(SILENCE, after_s=60), timeout_s=60)
    assert isinstance(run.error, DeadlineExceeded)


def test_an_attempt_that_the_deadline_cuts_off_does_not_hide_what_the_one_before_it_met() -> None:
    def answer(run: Run, _call: Call) -> Answer:
        run.now += 5
        return Answer(503) if len(run.calls) == 1 else SILENCE

    run = Run(answer, timeout_s=10)
    assert len(run.calls) == 2
    assert isinstance(run.error, EndpointUnavailable)
    assert "503" in run.error.message


def test_pauses_grow_until_the_deadline_and_the_last_reason_is_told() -> None:
    run = Run(in_turn(Answer(503)), timeout_s=10)
    assert isinstance(run.error, EndpointUnavailable)
    assert "503" in run.error.message
    assert len(run.calls) == 6  # after 0, 0.25, 0.75, 1.75, 3.75 and 7.75 s
    assert len({call.body for call in run.calls}) > 1  # signed anew


def test_the_platforms_own_pause_is_kept() -> None:
    run = Run(in_turn(Answer(429, retry_after_s=7), DONE))
    assert run.output == OUTPUT
    assert run.now == pytest.approx(1007.25)


def test_a_full_worker_is_tried_again() -> None:
    assert Run(in_turn(failed("OVERLOADED"), failed("OVERLOADED"), DONE)).output == OUTPUT
    assert isinstance(Run(in_turn(failed("OVERLOADED"))).error, Overloaded)


def test_an_expired_signature_is_made_anew_once() -> None:
    assert Run(in_turn(failed("AUTH_EXPIRED"), DONE)).output == OUTPUT
    run = Run(in_turn(failed("AUTH_EXPIRED")))
    assert isinstance(run.error, AuthExpired)
    assert len(run.calls) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (failed("INFERENCE_FAILED"), InferenceFailed),
        (failed("INTERNAL"), Internal),
        (Answer(200, b"<html>"), BadReply),
    ],
)
def test_a_workers_own_fault_and_nonsense_are_tried_again_twice(answer: Answer, error: type[ClipError]) -> None:
    assert Run(in_turn(answer, answer, DONE)).output == OUTPUT
    run = Run(in_turn(answer))
    assert type(run.error) is error
    assert len(run.calls) == 3


def test_nonsense_to_a_question_submits_the_job_again() -> None:
    run = Run(in_turn(envelope("IN_PROGRESS"), Answer(200, b"<html>"), DONE))
    assert run.output == OUTPUT


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (failed("IMAGE_INVALID", retryable=False), ImageInvalid),
        (failed("DOWNLOAD_FAILED", retryable=True), DownloadFailed),  # the image's server, so the caller's affair
        (failed("OVERLOADED", retryable=False), Overloaded),
        (Answer(401), EndpointUnauthorized),
        (Answer(403), EndpointUnauthorized),
        (Answer(404), EndpointUnavailable),
        (Answer(400), EndpointUnavailable),
        (envelope("CANCELLED"), EndpointUnavailable),
    ],
)
def test_what_no_second_try_cures_is_raised_at_once(answer: Answer, error: type[ClipError]) -> None:
    run = Run(in_turn(answer))
    assert type(run.error) is error
    assert len(run.calls) == 1


def test_a_key_refused_while_polling_ends_the_job() -> None:
    run = Run(in_turn(envelope("IN_PROGRESS"), Answer(401)))
    assert isinstance(run.error, EndpointUnauthorized)


def test_a_call_left_unanswered_is_a_fault_of_the_driver() -> None:
    exchange = run_job(Job(lambda *_: b"", 1, 1, clock=lambda: 0.0, spread=lambda upper: upper))
    first: Any = next(exchange)
    assert isinstance(first, Call)
    with pytest.raises(TypeError):
        exchange.send(None)
