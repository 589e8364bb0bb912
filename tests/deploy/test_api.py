"""The API's client: what it retries, what it never shows."""

from __future__ import annotations

import json

import pytest

from deploy import api
from deploy.api import Api
from deploy.errors import ApiError, DeployError
from tests.deploy.platform import KEY, Platform


def client(platform: Platform, waits: list[float] | None = None, *, key: str = KEY) -> Api:
    sleep = (waits if waits is not None else []).append
    return Api(key, base_url=platform.url, jobs_url=f"{platform.url}/jobs", secrets=("hush-hush",), sleep=sleep)


def test_a_429_is_sent_again_when_the_platform_says(runpod: Platform) -> None:
    waits: list[float] = []
    runpod.faults.extend([(429, {"Retry-After": "7"}, b""), (429, {"Retry-After": "soon"}, b"")])
    with client(runpod, waits) as made:
        assert made.send(api.list_endpoints()) == {"endpoints": []}
    assert waits == [7.0, 2.0]


def test_a_long_wait_is_cut(runpod: Platform) -> None:
    waits: list[float] = []
    runpod.faults.append((429, {"Retry-After": "86400"}, b""))
    with client(runpod, waits) as made:
        made.send(api.list_endpoints())
    assert waits == [30.0]


def test_a_5xx_is_asked_again_but_nothing_is_created_twice(runpod: Platform) -> None:
    runpod.faults.append((502, {}, b"<html>"))
    with client(runpod) as made:
        made.send(api.list_endpoints())
        runpod.faults.append((502, {}, b"<html>"))
        runpod.requests.clear()
        with pytest.raises(ApiError, match="502: no reason given") as caught:
            made.send(api.create_endpoint({}))
    assert caught.value.status == 502
    assert len(runpod.requests) == 1


def test_it_gives_up(runpod: Platform) -> None:
    runpod.faults.extend([(503, {}, b"")] * 9)
    with client(runpod) as made, pytest.raises(ApiError):
        made.send(api.list_endpoints())
    assert len(runpod.requests) == 4


def test_a_refusal_gives_the_platforms_reasons(runpod: Platform) -> None:
    with client(runpod) as made, pytest.raises(ApiError, match=r"422: .*validation failed.*'name' is a required"):
        made.send(api.create_endpoint({"type": "QUEUE"}))


def test_a_refusal_shows_no_secret_and_stays_one_line(runpod: Platform) -> None:
    detail = f"bad value hush-hush\nfor {KEY} " + "x" * 5000
    runpod.faults.append((400, {}, json.dumps({"detail": detail}).encode()))
    with client(runpod) as made, pytest.raises(ApiError) as caught:
        made.send(api.list_endpoints())
    line = str(caught.value)
    assert "hush-hush" not in line
    assert KEY not in line
    assert "\n" not in line
    assert len(line) < 500


@pytest.mark.parametrize("content", [b"", b"[]", b"nonsense", b'"text"'])
def test_an_answer_that_is_no_object_is_an_error(runpod: Platform, content: bytes) -> None:
    runpod.faults.append((200, {}, content))
    with client(runpod) as made, pytest.raises(ApiError, match="no JSON object"):
        made.send(api.list_endpoints())


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"errors": 5}', b'{"detail": {"a": 1}}', b"\xff"])
def test_any_refusal_is_one_line(runpod: Platform, content: bytes) -> None:
    runpod.faults.append((400, {}, content))
    with client(runpod) as made, pytest.raises(ApiError, match="400"):
        made.send(api.list_endpoints())


def test_a_wrong_key_says_which_variable(runpod: Platform) -> None:
    with client(runpod, key="other") as made, pytest.raises(ApiError, match=r"401: .*RUNPOD_API_KEY"):
        made.send(api.list_endpoints())


def test_nobody_there() -> None:
    waits: list[float] = []
    with Api(KEY, base_url="http://127.0.0.1:1", sleep=waits.append) as made, pytest.raises(ApiError) as caught:
        made.send(api.list_endpoints())
    assert caught.value.retryable
    assert len(waits) == 3


@pytest.mark.parametrize(
    "url", ["http://api.runpod.io", "ftp://127.0.0.1", "api.runpod.io", "http://127.0.0.1.evil.com"]
)
def test_the_key_goes_over_https_only(url: str) -> None:
    with pytest.raises(DeployError, match="https"):
        Api(KEY, base_url=url)


@pytest.mark.parametrize("key", ["", "a b", "ключ", "a\nb"])
def test_a_key_that_no_header_can_hold_is_not_quoted(key: str) -> None:
    with pytest.raises(DeployError) as caught:
        Api(key)
    assert not key or key not in str(caught.value)


def test_ids_cannot_leave_their_place_in_the_path() -> None:
    assert api.update_endpoint("../../x?y", {}).path == "/v2/serverless/..%2F..%2Fx%3Fy"
