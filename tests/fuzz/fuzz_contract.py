"""What a hostile endpoint answers to the client: only the client's own errors come out of any bytes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from heimdex_clip import contract
from heimdex_clip._envelope import Answer, read_envelope
from heimdex_clip._exchange import Call, Job, Steps, run_job
from heimdex_clip.backends import replies
from heimdex_clip.backends.http import Http
from heimdex_clip.contract import Embedding, Text
from heimdex_clip.errors import BadReply, ClipError
from heimdex_clip.results import parse_info, parse_json_object
from tests.fuzz.target import Check, Target, check_error

_PATH = re.compile(r"/(runsync\?wait=[0-9]+|(status|cancel)/[A-Za-z0-9][A-Za-z0-9._-]*|v1/embed/text|health)")


@contextmanager
def _open(_model: Path, _work: Path) -> Iterator[Check]:
    def check(data: bytes) -> None:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        _only(lambda: contract.parse_request(value, strict=True), ClipError)
        _only(lambda: _checked(contract.parse_embedding(value)), BadReply)
        _only(lambda: replies.read_one(value, "r", normalize=True), BadReply)
        _only(lambda: replies.read_batch(value, ["r", "s"], normalize=True), BadReply)
        if isinstance(value, dict):
            check_error(contract.error_from_reply(value), ClipError)
            _only(lambda: parse_info(value, backend="runpod"), BadReply)
        _only(lambda: parse_json_object(data, "the reply"), BadReply)
        _only(lambda: read_envelope(data), BadReply)
        _ask(data)

    yield check


def _only(ask: Callable[[], object], *allowed: type[ClipError]) -> None:
    try:
        ask()
    except ClipError as error:
        check_error(error, *allowed)


def _checked(embedding: Embedding) -> None:
    assert len(embedding.vector) == embedding.dim > 0
    assert all(map(math.isfinite, embedding.vector))
    assert embedding.as_array().shape == (embedding.dim,)


def _ask(body: bytes) -> None:
    """Whole calls, through both doors, to somebody who gives this one answer to everything."""
    for status in (200, 500):
        for ask in (_ask_platform, _ask_server, _ask_server_info):
            now = [0.0]
            asking, answer = ask(now), None
            try:
                while True:
                    step = asking.send(answer)
                    now[0] += 0.2
                    answer = Answer(status, body) if isinstance(step, Call) else None
                    if isinstance(step, Call):
                        assert _PATH.fullmatch(step.path), step.path
            except StopIteration:
                pass
            except ClipError as error:
                check_error(error, ClipError)


def _ask_platform(now: list[float]) -> Steps[object]:
    return run_job(Job(lambda *_: b"", timeout_s=3, attempt_timeout_s=1, clock=lambda: now[0], spread=lambda s: s))


def _ask_server(now: list[float]) -> Steps[object]:
    return _server(now).embed(Text("a"), "r", normalize=True)


def _ask_server_info(now: list[float]) -> Steps[object]:
    return _server(now).info()


def _server(now: list[float]) -> Http:
    return Http.checked(
        "https://example.com",
        "secret",
        audience="local",
        kid=None,
        timeout_s=3,
        attempt_timeout_s=1,
        clock=lambda: now[0],
        spread=lambda s: s,
    )


def seeds() -> Sequence[bytes]:
    """Answers in every form that the platform and the worker use."""
    embedding = {
        "request_id": "r",
        "embedding": [0.6, 0.8],
        "dim": 2,
        "model": "tiny",
        "pretrained": "x",
        "normalized": True,
        "timings": {"total_ms": 1.5},
        "model_digest": "0123456789abcdef",
        "lane": "cpu",
    }
    failure = {"error": "no", "code": "URL_REFUSED", "retryable": False, "request_id": "r"}
    values: list[object] = [
        embedding,
        {**embedding, "embedding": contract.encode_vector([0.6, 0.8]), "truncated": True},
        failure,
        {"results": [embedding, failure], "model": "tiny", "timings": {}},
        {"id": "job-1", "status": "COMPLETED", "output": embedding},
        {"id": "job-1", "status": "IN_PROGRESS", "delayTime": 150},
        {"id": "job-1", "status": "FAILED", "error": json.dumps(failure), "output": {}},
        {"id": "job-1", "status": "FAILED", "error": '{"error_type": "x", "error_traceback": "Traceback"}'},
        {"id": "job-1", "status": "TIMED_OUT"},
        {"id": "job-1", "status": "COMPLETED", "output": failure},
        {"text": "a", "model": "tiny"},
        {"state": "ready", **embedding, "untrained": False, "limits": {"job_timeout_s": 110}},
        {"state": "loading", "uptime_s": 1.5},
    ]
    return [json.dumps(value).encode() for value in values]


TARGET = Target(_open, seeds, json=True, runs=2500)
