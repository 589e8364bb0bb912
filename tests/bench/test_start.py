from __future__ import annotations

import json
import sys
import time

import pytest

from bench.contenders import Contender
from bench.errors import BenchError
from bench.proctimes import CpuTime, Step, StepWatch
from bench.start import Start, breakdown, measure

BARE = Contender("bare", (sys.executable, "-m", "bench.stub_bare"), {})


def line(event: str, at: str) -> str:
    return json.dumps({"time": f"2026-01-02T03:04:{at}Z", "event": event}) + "\n"


def test_steps_are_taken_from_the_log_as_it_grows() -> None:
    watch = StepWatch(started_at=1767323040.0)  # 03:04:00 UTC
    log = "a warning of somebody else's\n" + line("imported", "01.500")

    watch.sample(log[:-5], 0.5)
    watch.sample(log, 1.0)
    watch.sample(log + '{"event": "no time"}\n[]\n' + line("ready", "02.250"), 2.0)

    assert watch.steps == [Step("imported", 1.5, 1.0), Step("ready", 2.25, 2.0)]


def test_the_breakdown_is_of_the_fastest_start_and_adds_up() -> None:
    slow = Start("worker", 9.0, CpuTime(9.0, 8.0, 0.5), (Step("answered", 9.0, 9.0),))
    fast = Start("worker", 2.0, CpuTime(3.0, 1.25, 0.5), (Step("ready", 1.5, 2.5), Step("answered", 2.0, 3.0)))

    text = breakdown([slow, fast])

    assert "1.50 s    2.50 CPU s  ready" in text
    assert "of 3.00 CPU s: main thread (imports, the SDK's loop) 1.25, other threads 1.25, child processes 0.50" in text
    assert "9.00" not in text


async def test_a_start_is_measured_through_the_sdk() -> None:
    before = time.monotonic()
    start, embedding = await measure(BARE, lambda: {"any": "job"})

    assert len(embedding) == 512
    assert start.worker == "bare"
    assert 0 < start.seconds < time.monotonic() - before
    assert 0 < start.cpu.main_thread_s <= start.cpu.total_s
    assert start.steps[-1] == Step("answered", start.seconds, start.cpu.total_s)


async def test_a_worker_that_ends_is_reported_with_its_last_words() -> None:
    broken = Contender("broken", (sys.executable, "-c", "raise SystemExit('no model here')"), {})
    with pytest.raises(BenchError, match=r"broken gave no answer.*no model here"):
        await measure(broken, dict)
