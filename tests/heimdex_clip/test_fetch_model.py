"""``fetch-model``: whole and proven, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from heimdex_clip import __main__
from heimdex_clip.encoder.encoder import open_encoder
from tests import tiny_model


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_model.build(tmp_path / "source")


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_static("/models/tiny", folder)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/models/tiny"
    finally:
        await runner.cleanup()


def fetch(source: object, to: Path, *argv: str, **environ: str) -> int:
    return __main__.main(["fetch-model", str(source), "--to", str(to), *argv], environ)


def nothing_else(folder: Path, *names: str) -> bool:
    return sorted(entry.name for entry in folder.iterdir()) == sorted(names)


async def test_from_a_directory_and_from_a_url(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(source, tmp_path / "a" / "copy") == 0
    async with served(source) as url:
        assert await asyncio.to_thread(fetch, url + "/", tmp_path / "b" / "copy") == 0
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert nothing_else(folder, "copy")
        assert open_encoder(folder / "copy", runtime="cpu").manifest.model == "tiny"
    out, err = capsys.readouterr()
    assert "model_digest" in out
    assert "untrained: the vectors carry no meaning" in err
    assert "image.fp32.onnx" in err


def test_where_to_may_stand_in_the_environment(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "there"
    assert __main__.main(["fetch-model", str(source)], {"CLIP_MODEL_DIR": str(target)}) == 0
    assert (target / "manifest.json").is_file()


def test_where_to_is_the_models_name_otherwise(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert __main__.main(["fetch-model", str(source)], {}) == 0
    assert capsys.readouterr().out.startswith("models/tiny-untrained-0  tiny untrained-0")
    assert nothing_else(tmp_path / "models", "tiny-untrained-0")


def test_a_folder_that_is_whole_is_left_alone(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "copy" / "model"
    assert fetch(source, target) == 0
    before = (target / "manifest.json").stat().st_ino
    assert fetch(source, target) == 0
    assert (target / "manifest.json").stat().st_ino == before
    assert "is there already" in capsys.readouterr().err


def test_a_folder_that_is_not_whole_is_replaced(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy" / "model"
    assert fetch(source, target) == 0
    (target / tiny_model.IMAGE).write_bytes(b"altered")
    (target / "left over").touch()
    assert fetch(source, target) == 0
    assert not (target / "left over").exists()
    open_encoder(target, runtime="cpu")
    assert nothing_else(tmp_path / "copy", "model")


@pytest.mark.parametrize("web_source", [False, True])
async def test_an_altered_file_leaves_what_was_there(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, web_source: bool
) -> None:
    target = tmp_path / "copy" / "model"
    assert fetch(source, target) == 0
    tiny_model.build(source, seed=1)
    graph = source / tiny_model.IMAGE
    graph.write_bytes(graph.read_bytes()[:-1] + b"!")
    capsys.readouterr()
    async with served(source) as url:
        assert await asyncio.to_thread(fetch, url if web_source else source, target) == 1
    assert "image.fp32.onnx has sha256" in capsys.readouterr().err
    assert open_encoder(target, runtime="cpu").manifest.pretrained == "untrained-0"
    assert nothing_else(tmp_path / "copy", "model")


@pytest.mark.parametrize("fault", ["missing", "longer", "no manifest", "another manifest", "garbage", "outside"])
async def test_every_fault_is_one_line_and_leaves_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    sha256 = hashlib.sha256((source / "manifest.json").read_bytes()).hexdigest()
    match fault:
        case "missing":
            (source / tiny_model.TEXT).unlink()
        case "longer":
            with (source / tiny_model.TEXT).open("ab") as file:
                file.write(b"x")
        case "no manifest":
            (source / "manifest.json").unlink()
        case "another manifest":
            sha256 = "0" * 64
        case "garbage":
            (source / "manifest.json").write_text("{")
            sha256 = ""
        case "outside":
            document = json.loads((source / "manifest.json").read_text())
            document["files"]["../outside"] = document["files"].pop(tiny_model.TEXT)
            (source / "manifest.json").write_text(json.dumps(document))
            sha256 = ""
    (tmp_path / "to").mkdir()
    async with served(source) as url:
        for place in (source, url):
            code = await asyncio.to_thread(fetch, place, tmp_path / "to" / "model", "--manifest-sha256", sha256)
            _, err = capsys.readouterr()
            assert code == 1
            assert err.splitlines()[-1].startswith("heimdex-clip: ")
            assert "Traceback" not in err
    assert nothing_else(tmp_path / "to")


def test_a_source_that_nobody_serves_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("http://127.0.0.1:1/model", "ftp://x/model", str(tmp_path / "none")):
        assert fetch(place, tmp_path / "to" / "model") == 1
        assert capsys.readouterr().err.count("\n") == 1
