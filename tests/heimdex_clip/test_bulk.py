"""``bulk``: every row once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heimdex_clip import __main__
from tests.heimdex_clip.bulk_rig import DIGEST, Endpoint, rows_of, serving, write_csv

ROOT = Path(__file__).parents[2]


async def bulk(endpoint: Endpoint, source: Path, out: Path, *argv: str, **environ: str) -> int:
    command = ["bulk", str(source), str(out), "--part-rows", "10", "--batch", "4", "--concurrency", "8", *argv]
    return await asyncio.to_thread(__main__.main, command, endpoint.environ(**environ))


def urls(count: int, **wrong: str) -> list[str]:
    """``_3="gone"`` makes row 3 go wrong."""
    return [f"http://images/{n}" + (f"/{wrong[f'_{n}']}" if f"_{n}" in wrong else "") for n in range(count)]


def whole(rows: list[dict[str, Any]], count: int) -> bool:
    ids = [row["id"] for row in rows] == [f"row-{n}" for n in range(count)]
    return ids and all(row["vector"] is None or row["vector"][0] == n for n, row in enumerate(rows))


async def test_every_row_is_in_its_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_csv(tmp_path / "in.csv", urls(25)), tmp_path / "out"
    async with serving() as endpoint:
        assert await bulk(endpoint, source, out) == 0
        assert (endpoint.largest, len(endpoint.asked)) == (4, 25)
        assert endpoint.most_at_once <= 8
    rows = rows_of(out)
    assert whole(rows, 25)
    assert {(row["model"], row["model_digest"], row["error"], row["message"]) for row in rows} == {
        ("ViT-B-32", DIGEST, None, None)
    }
    assert [pq.read_metadata(path).num_rows for path in sorted(out.glob("part-*"))] == [10, 10, 5]
    assert pq.read_schema(out / "part-000000.parquet").field("vector").type == pa.list_(pa.float32(), 4)
    printed, said = capsys.readouterr()
    assert printed.splitlines()[-1] == f"25 rows in 3 parts, model ViT-B-32, model_digest {DIGEST}"
    assert said.splitlines()[-1].startswith("25 of about 25 rows, ")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
async def test_inputs_without_ids_count_their_rows(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"in.{suffix}"
    match suffix:
        case "csv":
            source.write_bytes(
                b"\xef\xbb\xbfname,URL\r\n" + b"".join(b'"a\nb",%s\r\n\r\n' % u.encode() for u in urls(23))
            )
        case "jsonl":
            source.write_text("\n\n".join(json.dumps({"url": url}) for url in urls(23)))
        case "parquet":
            pq.write_table(pa.table({"other": range(23), "url": urls(23)}), source, row_group_size=7)
    async with serving() as endpoint:
        assert await bulk(endpoint, source, tmp_path / "out") == 0
    rows = rows_of(tmp_path / "out")
    assert [(row["id"], row["vector"][0]) for row in rows] == [(str(n), n) for n in range(23)]


async def test_rows_that_cannot_be_read_fail_alone(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = ['{"url": "http://images/0"}', "{", "[]", '{"url": 3}', '{"id": 7, "url": "http://images/\\ud800"}']
    lines += [json.dumps({"url": "http://images/" + "x" * 9000}), '{"id": "\\ud800", "url": "http://images/6"}']
    source.write_text("\n".join(lines))
    async with serving() as endpoint:
        assert await bulk(endpoint, source, tmp_path / "out") == 3
    rows = rows_of(tmp_path / "out")
    assert [row["error"] for row in rows] == [None, *["INVALID_REQUEST"] * 5, None]
    assert [row["id"] for row in rows] == ["0", "1", "2", "3", "7", "5", "\\ud800"]
    assert "9014 characters" in rows[5]["message"]


async def test_a_part_of_errors_alone_has_the_same_columns(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,url\n" + "a,\n" * 10 + "b,http://images/1\n")
    async with serving(dim=512) as endpoint:
        assert await bulk(endpoint, source, tmp_path / "out") == 3
    schemas = [pq.read_schema(path) for path in sorted((tmp_path / "out").glob("part-*"))]
    assert schemas[0].equals(schemas[1])


async def test_errors_become_rows_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_csv(tmp_path / "in.csv", urls(25, _3="gone", _24="gone", _7="poison")), tmp_path / "out"
    async with serving() as endpoint:
        assert await bulk(endpoint, source, out) == 3
        assert endpoint.asked["http://images/3/gone"] == 1
    rows = rows_of(out)
    assert whole(rows, 25)
    failed = {row["id"]: (row["error"], row["vector"], row["model_digest"]) for row in rows if row["error"]}
    assert failed == {
        "row-3": ("DOWNLOAD_FAILED", None, None),
        "row-7": ("BAD_REPLY", None, None),
        "row-24": ("DOWNLOAD_FAILED", None, None),
    }
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert printed[:4] == [["code", "rows"], ["fine", "22"], ["DOWNLOAD_FAILED", "2"], ["BAD_REPLY", "1"]]


async def test_a_passing_error_is_tried_again(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", urls(12, _3="flaky", _5="flaky"))
    async with serving() as endpoint:
        assert await bulk(endpoint, source, tmp_path / "out") == 0
        assert endpoint.asked["http://images/3/flaky"] == 3
    assert whole(rows_of(tmp_path / "out"), 12)


async def test_a_refused_signature_stops_the_run_and_keeps_what_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_csv(tmp_path / "in.csv", urls(35)), tmp_path / "out"
    async with serving() as endpoint:
        assert await bulk(endpoint, source, out) == 0
        (out / "part-000001.parquet").unlink()
        (out / "part-000003.parquet.tmp").touch()
        endpoint.status = 401
        capsys.readouterr()
        assert await bulk(endpoint, source, out) == 1
        err = capsys.readouterr().err.splitlines()
        assert err[1] == "heimdex-clip: Authentication failed"
        assert len(list(out.glob("part-*"))) == 3
        endpoint.status = 200
        endpoint.asked.clear()
        assert await bulk(endpoint, source, out) == 0
        assert sorted(endpoint.asked) == sorted(urls(35)[10:20])
    assert whole(rows_of(out), 35)


async def test_an_endpoint_that_is_down_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_csv(tmp_path / "in.csv", urls(400)), tmp_path / "out"
    async with serving(status=503) as endpoint:
        assert await bulk(endpoint, source, out, "--part-rows", "200", RUNPOD_TIMEOUT_S="0.1") == 1
    assert "17 jobs in a row failed, the last with " in capsys.readouterr().err
    assert not list(out.glob("part-*"))


@pytest.mark.parametrize("when", ["within", "resumed"])
async def test_two_models_never_meet_in_one_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], when: str
) -> None:
    source, out = write_csv(tmp_path / "in.csv", urls(35, _34="digest-ffff")), tmp_path / "out"
    async with serving() as endpoint:
        assert await bulk(endpoint, source, out) == 1
        if when == "resumed":
            endpoint.digest = "f" * 16
            assert await bulk(endpoint, source, out) == 1
    assert "must not meet in one output" in capsys.readouterr().err
    assert all(row["model_digest"] == DIGEST for row in rows_of(out))


async def test_only_the_same_run_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_csv(tmp_path / "in.csv", urls(15)), tmp_path / "out"
    async with serving() as endpoint:
        assert await bulk(endpoint, source, out) == 0
        moved = source.rename(tmp_path / "moved.csv")
        assert await bulk(endpoint, moved, out) == 0
        assert await bulk(endpoint, moved, out, "--part-rows", "5") == 2
        assert "was begun with --part-rows 10" in capsys.readouterr().err
        assert await bulk(endpoint, write_csv(source, urls(15, _0="gone")), out) == 2
        assert "was begun with another input" in capsys.readouterr().err
        (out / "run.json").unlink()
        assert await bulk(endpoint, moved, out) == 2
        assert "holds parts but no run.json" in capsys.readouterr().err
        (out / "run.json").write_text("[]")
        assert await bulk(endpoint, moved, out) == 2
        assert "is not of a bulk run" in capsys.readouterr().err
        assert set(endpoint.asked.values()) == {1}


async def test_a_part_that_is_not_whole_is_made_again(tmp_path: Path) -> None:
    source, out = write_csv(tmp_path / "in.csv", urls(35)), tmp_path / "out"
    async with serving() as endpoint:
        assert await bulk(endpoint, source, out) == 0
        part = out / "part-000001.parquet"
        part.write_bytes(part.read_bytes()[:-7])
        pq.write_table(pq.read_table(out / "part-000000.parquet").slice(0, 9), out / "part-000000.parquet")
        assert await bulk(endpoint, source, out) == 0
    assert whole(rows_of(out), 35)


async def test_a_last_part_that_is_too_short_is_not_believed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_csv(tmp_path / "in.csv", urls(15)), tmp_path / "out"
    async with serving() as endpoint:
        assert await bulk(endpoint, source, out) == 0
        part = out / "part-000001.parquet"
        pq.write_table(pq.read_table(part).slice(0, 4), part)
        assert await bulk(endpoint, source, out) == 2
    assert "part 1 has 4 rows" in capsys.readouterr().err


async def test_one_process_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_csv(tmp_path / "in.csv", urls(5)), tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with serving() as endpoint:
            assert await bulk(endpoint, source, out) == 2
    assert "is in use by another process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("in.csv", "id,link\n1,2\n", "has no column url"),
        ("in.csv", "", "has no column url"),
        ("in.csv", 'url\n"' + "x" * 200_000 + '"\n', "cannot be read after 0 rows"),
        ("in.jsonl", "x" * (1 << 20), "a line has more than"),
        ("in.parquet", "no parquet", "cannot be read after 0 rows"),
        ("in.txt", "", "must end in .csv, .jsonl or .parquet"),
        ("in.csv", None, "cannot read"),
    ],
)
async def test_what_cannot_be_begun_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert await bulk(Endpoint(url="http://127.0.0.1:1"), tmp_path / name, tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


async def test_settings_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_csv(tmp_path / "in.csv", urls(1))
    for backend in ("off", "runpod"):
        assert await bulk(Endpoint(), source, tmp_path / "out", CLIP_INFERENCE_BACKEND=backend) == 2
        assert capsys.readouterr().err.count("\n") == 1
    for argv in (["--batch", "0"], ["--concurrency", "x"], ["--part-rows", "-1"]):
        with pytest.raises(SystemExit, match="2"):
            await bulk(Endpoint(), source, tmp_path / "out", *argv)


async def test_an_empty_input_is_no_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving() as endpoint:
        assert await bulk(endpoint, write_csv(tmp_path / "in.csv", []), tmp_path / "out") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 rows in 0 parts"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_it_and_it_goes_on_later(tmp_path: Path, number: signal.Signals) -> None:
    source, out = write_csv(tmp_path / "in.csv", urls(45)), tmp_path / "out"
    async with serving(hold=asyncio.Event()) as endpoint:
        assert endpoint.hold is not None
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "heimdex_clip", "bulk", str(source), str(out), "--part-rows", "10"],
            *["--batch", "10", "--concurrency", "10"],
            cwd=ROOT,
            env={**os.environ, **endpoint.environ()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            await endpoint.reached.wait()
            process.send_signal(number)
            _, err = await process.communicate()
        assert process.returncode == 130
        assert err.decode().splitlines()[-1].startswith("heimdex-clip: interrupted")
        endpoint.hold.set()
        assert await bulk(endpoint, source, out) == 0
    assert whole(rows_of(out), 45)
