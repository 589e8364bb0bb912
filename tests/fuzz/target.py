"""What a fuzzing target is made of, and what all of them hold replies and errors to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from heimdex_clip.errors import ClipError

Check = Callable[[bytes], None]
"""Feeds one input to the product. Raises when a promise is broken, whatever the input."""

MAX_MESSAGE_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Target:
    """One door of the product.

    `open` is given a folder with the model in miniature and one to write to. `json` says that inputs are JSON text, and
    are changed as such. `runs` is how many inputs `make check` feeds.
    """

    open: Callable[[Path, Path], AbstractContextManager[Check]]
    seeds: Callable[[], Sequence[bytes]]
    json: bool
    runs: int
    max_bytes: int = 4096


def check_error(error: ClipError, *allowed: type[ClipError]) -> None:
    """The error is one of those allowed, on one line of bounded length."""
    assert isinstance(error, allowed), f"{type(error).__name__} is not promised here"
    message = str(error)
    assert message, "an error without a message"
    assert len(message) <= MAX_MESSAGE_CHARS, f"a message of {len(message)} characters"
    assert len(message.splitlines()) == 1, f"a message of several lines: {message!a}"


def check_reply(reply: Mapping[str, object]) -> None:
    """The reply can be sent as strict JSON, and no part of it is a fault of the worker's own."""
    text = json.dumps(reply, allow_nan=False)
    assert "Traceback" not in text
    rows = reply.get("results")
    for row in (reply, *(rows if isinstance(rows, list) else ())):
        code = row.get("code")
        assert code != "INTERNAL", row
        # A black picture's vector is zero in the miniature model, and never sent.
        assert code != "INFERENCE_FAILED" or row["error"] == "The vector is not finite or zero", row
        json.dumps(row.get("request_id"), ensure_ascii=False).encode()
