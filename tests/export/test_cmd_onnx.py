from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import open_clip
import pytest

from export.__main__ import cache_folder, main
from heimdex_clip.encoder import manifest
from tests.export.support import TINY


def test_a_good_export_replaces_a_model_and_says_what_it_made(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    out.mkdir()
    (out / manifest.FILE_NAME).write_text("{}")
    (out / "left-over.onnx").write_text("old")
    assert main(["onnx", "--model", TINY, "--untrained", "0", "--quick-gelu", "--out", str(out)]) == 0
    made = manifest.load(out)
    assert made.model_digest == manifest.load(tiny_folder).model_digest
    assert {path.name for path in out.iterdir()} == {path.name for path in tiny_folder.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert out.stat().st_mode & 0o777 == 0o755
    streams = capsys.readouterr()
    assert streams.out == f"{out}: {TINY} untrained-0, digest {made.model_digest}\n"
    assert streams.err.splitlines().count("WARNING: these weights are untrained: the vectors carry no meaning.") == 2
    assert "exporting image.fp32.onnx ..." in streams.err.splitlines()


def test_without_a_network_one_line_gives_the_reason_and_the_two_ways_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = {"openai": {"url": f"http://127.0.0.1:9/{'0' * 64}/tiny.pt", "quick_gelu": True}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, TINY, published)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert main(["onnx", "--model", TINY]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "error: cannot download tiny.pt from 127.0.0.1 (Connection refused); "
        "give --checkpoint FILE, or --untrained SEED for vectors without meaning"
    )
    assert not (tmp_path / "models").exists()


def test_sources_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["onnx", "--untrained", "0", "--checkpoint", "file.pt"])
    assert caught.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_the_command_line_is_up_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys; from export.__main__ import main\n"
        "try: main(['onnx', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'open_clip', 'onnx', 'onnxruntime', 'numpy', 'matplotlib', 'jinja2'} & sys.modules.keys()\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--quick-gelu" in done.stdout


def test_the_cache_follows_the_environment() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/somewhere"}) == Path("/somewhere/heimdex-clip")
    assert cache_folder({}) == Path.home() / ".cache" / "heimdex-clip"
