"""The error tree: drawn as it is, stable on the wire, and as docs/protocol.md tells it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from heimdex_clip import errors
from heimdex_clip.errors import WIRE_ERRORS, ClipError, DownloadFailed, EndpointError, SetupError

PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def every(kind: type[ClipError]) -> Iterator[type[ClipError]]:
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield below
            yield from every(below)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = dict(re.findall(r"── (\w+) +([A-Z_]{4,})?", errors.__doc__ or ""))
    assert set(drawn) == {kind.__name__ for kind in every(ClipError)}
    for kind in every(ClipError):
        assert drawn[kind.__name__] in (kind.code, ""), kind


def test_codes_are_unique_where_they_are_raised() -> None:
    codes = [kind.code for kind in every(ClipError) if kind not in (EndpointError, SetupError)]
    assert len(codes) == len(set(codes)) == 20


def test_exactly_the_thirteen_of_the_contract_travel() -> None:
    assert list(WIRE_ERRORS) == [
        "AUTH_FAILED",
        "AUTH_EXPIRED",
        "INVALID_REQUEST",
        "MODEL_MISMATCH",
        "URL_REFUSED",
        "DOWNLOAD_FAILED",
        "DOWNLOAD_TIMEOUT",
        "IMAGE_TOO_LARGE",
        "IMAGE_INVALID",
        "INFERENCE_FAILED",
        "OVERLOADED",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
    ]


def test_the_protocols_table_says_the_same() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| .+ \| (yes|no) \|$", PROTOCOL, re.MULTILINE)
    assert rows == [(code, "yes" if kind.retryable else "no") for code, kind in WIRE_ERRORS.items()]


def test_an_instance_may_override_retryable_and_leaves_its_class_alone() -> None:
    assert not DownloadFailed("gone", retryable=False).retryable
    assert DownloadFailed("reset").retryable


@pytest.mark.parametrize("kind", list(every(ClipError)))
def test_the_message_is_the_text(kind: type[ClipError]) -> None:
    error = kind("one line")
    assert (str(error), error.message) == ("one line", "one line")
