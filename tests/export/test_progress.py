from __future__ import annotations

import io

from rich.console import Console

from export.progress import Progress


def _progress(*, terminal: bool) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    return Progress(Console(file=out, force_terminal=terminal, width=100)), out


def test_without_a_terminal_steps_are_plain_lines() -> None:
    progress, out = _progress(terminal=False)
    with progress.step("doing [this]"):
        progress.say("half way")
    begin, middle, end = out.getvalue().splitlines()
    assert (begin, middle) == ("doing [this] ...", "half way")
    assert end.startswith("doing [this]: ")
    assert end.endswith(" s")
    assert "\x1b" not in out.getvalue()


def test_without_a_terminal_a_transfer_says_every_tenth() -> None:
    progress, out = _progress(terminal=False)
    with progress.transfer("fetching", 1000) as advance:
        for _ in range(100):
            advance(10)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("fetching (0 MiB)")
    assert 9 <= len(lines) - 1 <= 11
    assert lines[-1].startswith("fetching: ")


def test_a_transfer_of_unknown_size_is_announced_only() -> None:
    progress, out = _progress(terminal=False)
    with progress.transfer("fetching", None) as advance:
        advance(10)
    assert out.getvalue().splitlines() == ["fetching (size unknown) ..."]


def test_on_a_terminal_a_transfer_draws_a_bar() -> None:
    progress, out = _progress(terminal=True)
    with progress.transfer("fetching", 2048) as advance:
        advance(2048)
    assert "fetching" in out.getvalue()
    assert "\x1b[" in out.getvalue()
