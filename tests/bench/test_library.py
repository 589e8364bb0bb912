from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.entrants import Shape, peak_rss_mb
from bench.errors import BenchError
from bench.library import LibraryEntrant


@asynccontextmanager
async def _echo(folder: Path, *, name: str = "model") -> AsyncIterator[LibraryEntrant]:
    images = [folder / "good", folder / "bad"]
    images[0].write_bytes(b"12345")
    images[1].write_bytes(b"bad")
    entrant = LibraryEntrant("echo", "tests.bench.echo_library", Path(sys.executable), folder / name, images)
    try:
        yield entrant
    finally:
        await entrant.stop()


async def test_a_library_answers_each_input_or_says_why_not(tmp_path: Path) -> None:
    async with _echo(tmp_path) as echo:
        assert await echo.start() > 0
        answer = await echo.ask("images", [str(path) for path in echo.images])
        texts = await echo.ask("texts", ["four", ""])

    assert answer == {"values": [[5.0, 1.0], None], "errors": {"1": "ValueError: not an image"}}
    assert texts == {"values": [[4.0, 2.0], [0.0, 2.0]], "errors": {}}


async def test_a_load_counts_whole_calls_of_all_clients(tmp_path: Path) -> None:
    async with _echo(tmp_path) as echo:
        echo.images = echo.images[:1]
        await echo.start()
        figures = await echo.load(Shape("batch", batch=3, clients=2, window_s=0.05))
        assert peak_rss_mb(echo.pid) > 1

    assert figures is not None
    assert figures.images % 3 == 0
    assert figures.images > 0
    assert 0 < figures.p50_ms <= figures.p99_ms


async def test_a_failure_in_a_client_fails_the_load(tmp_path: Path) -> None:
    async with _echo(tmp_path) as echo:
        await echo.start()
        with pytest.raises(BenchError, match="echo: ValueError: not an image"):
            await echo.load(Shape("single", batch=1, clients=1, window_s=0.05))


async def test_a_library_that_cannot_open_says_so_in_a_line(tmp_path: Path) -> None:
    async with _echo(tmp_path, name="broken") as echo:
        with pytest.raises(BenchError, match=r"echo: RuntimeError: cannot open$"):
            await echo.start()


async def test_a_library_that_ends_is_told_of_with_its_last_words(tmp_path: Path) -> None:
    async with _echo(tmp_path) as echo:
        await echo.start()
        with pytest.raises(BenchError, match="echo ended: last words"):
            await echo.ask("texts", ["exit"])


def test_no_process_has_no_memory() -> None:
    assert peak_rss_mb(0) != peak_rss_mb(0)
