from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import servers
from bench.entrants import Shape
from bench.errors import BenchError
from bench.servers import HttpEntrant


def _door(tmp_path: Path, *, model: str = "clip") -> HttpEntrant:
    image = tmp_path / "image"
    image.write_bytes(b"123")
    port = servers.free_port()
    argv = (sys.executable, "-m", "tests.bench.echo_door", str(port))
    return HttpEntrant("door", argv, {}, port, "/v1/embeddings", model, [image])


async def test_a_server_is_waited_for_and_then_loaded(tmp_path: Path) -> None:
    door = _door(tmp_path)
    try:
        assert await door.start() > 0
        vectors = await door.embed([servers.data_uri(b"123"), "x"])
        figures = await door.load(Shape("batch", batch=2, clients=3, window_s=0.1))
    finally:
        await door.stop()

    assert vectors == [[len("data:image/jpeg;base64,MTIz")], [1.0]]
    assert figures is not None
    assert figures.images % 2 == 0
    assert figures.images >= 6
    assert figures.per_s > 0


async def test_a_server_that_refuses_fails_the_load(tmp_path: Path) -> None:
    door = _door(tmp_path)
    try:
        await door.start()
        door.model = "another"
        with pytest.raises(BenchError, match="door: HTTP 400"):
            await door.load(Shape("single", batch=1, clients=2, window_s=0.1))
    finally:
        await door.stop()


async def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    door = _door(tmp_path)
    door.argv = (sys.executable, "-c", "raise SystemExit('no model')")
    try:
        with pytest.raises(BenchError, match=r"door ended: .*no model"):
            await door.start()
    finally:
        await door.stop()
