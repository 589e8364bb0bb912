"""The long forms, for ``make bulk-soak``: 10,000 rows under kills, a million rows in flat memory.

The million rows go to an HTTP door played in this process: it reads the signed batch, and answers every image with the
same 512 floats at once. All that the client does is real: CSV, signatures, HTTP, replies, Parquet parts on the disk.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web

from heimdex_clip.contract import Embedding, embedding_reply
from tests.e2e.rig import ROOT, SECRET
from tests.faults.bulk_kills import KILLS, ids_of, run, scene, without_vector

ROWS = 1_000_000
PART_ROWS = 4096
MAX_GROWTH = 1.1
"""Of the peak memory between a tenth of the rows and all of them."""


@pytest.mark.timeout(400)
async def test_ten_thousand_rows_under_kills(model_dir: Path, tmp_path: Path) -> None:
    kills = {stage: what for stage, what in enumerate(itertools.islice(itertools.cycle(KILLS), 18)) if stage != 1}
    kills[18], kills[19] = "client", "worker"
    started = time.monotonic()
    async with scene(model_dir) as there:
        code, output = await run(there, tmp_path, rows=10_000, part_rows=500, kills=kills)
        assert code == 0, output
    assert ids_of(tmp_path / "out") == [f"row-{n}" for n in range(10_000)]
    assert without_vector(tmp_path / "out") == 0
    print(f"\n{len(there.killed)} kills ({', '.join(there.killed)}) in {time.monotonic() - started:.0f} s\n{output}")


class Door:
    """Answers batches at once."""

    def __init__(self) -> None:
        reply = embedding_reply(
            Embedding("ID", (0.044,) * 512, 512, "ViT-B-32", "openai", True, "0123456789abcdef", "cpu", {}), "base64"
        )
        self._head, self._tail = json.dumps(reply).encode().split(b"ID", 1)

    async def answer(self, request: web.Request) -> web.Response:
        items = json.loads(json.loads(await request.read())["payload"])["items"]
        results = b",".join(self._head + item["request_id"].encode() + self._tail for item in items)
        return web.Response(body=b'{"results": [' + results + b"]}", content_type="application/json")


def peak_mib(pid: int) -> float:
    """The most memory that the process ever had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


@pytest.mark.timeout(1200)
async def test_a_million_rows_in_flat_memory(tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out"
    with source.open("w") as file:
        file.write("id,url\n")
        file.writelines(f"row-{n},https://images.example/{n}.jpg\n" for n in range(ROWS))
    app = web.Application()
    app.router.add_post("/v1/embed/image-batch", Door().answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "heimdex_clip", "bulk", str(source), str(out)],
        *["--concurrency", "256", "--batch", "64", "--part-rows", str(PART_ROWS)],
        cwd=ROOT,
        env={
            **os.environ,
            "CLIP_INFERENCE_BACKEND": "http",
            "CLIP_HTTP_URL": f"http://127.0.0.1:{runner.addresses[0][1]}",
            "EMBEDDING_HMAC_SECRET": SECRET,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    peaks: dict[int, float] = {}
    try:
        for tenth in range(1, 10):
            while len(list(out.glob("part-*.parquet"))) < ROWS * tenth // 10 // PART_ROWS:
                assert process.returncode is None
                await asyncio.sleep(0.2)
            peaks[tenth] = peak_mib(process.pid)
        printed, _ = await process.communicate()
        elapsed_s = time.monotonic() - started
        assert process.returncode == 0
        assert ids_of(out) == [f"row-{n}" for n in range(ROWS)]
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        await runner.cleanup()
        shutil.rmtree(out, ignore_errors=True)
    print(f"\n{printed.decode()}{ROWS / elapsed_s:,.0f} rows/s; peak memory in MiB by tenths of the rows:")
    print(", ".join(f"{mib:.1f}" for mib in peaks.values()))
    assert peaks[9] <= MAX_GROWTH * peaks[1]
