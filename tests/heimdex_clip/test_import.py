"""Importing and installing the package costs what it promises and no more."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

import heimdex_clip

ROOT = Path(__file__).parents[2]
HEAVY = {
    "PIL",
    "aiohttp",
    "anyio",
    "asyncio",
    "ftfy",
    "httpx",
    "numpy",
    "onnx",
    "onnxruntime",
    "open_clip",
    "regex",
    "requests",
    "runpod",
    "ssl",
    "tokenizers",
    "torch",
}


def modules_after(code: str) -> set[str]:
    """Top-level names of every module loaded once `code` has run in a fresh interpreter."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


def test_importing_and_signing_load_nothing_heavy() -> None:
    loaded = modules_after("import heimdex_clip; heimdex_clip.sign_v1('https://x', secret='s')")
    assert "heimdex_clip" in loaded
    assert not loaded & HEAVY


def test_the_contract_and_the_signed_request_load_nothing_heavy() -> None:
    loaded = modules_after("import heimdex_clip.contract, heimdex_clip._request; heimdex_clip.Embedding")
    assert not loaded & HEAVY


def test_a_client_that_is_switched_off_loads_nothing_heavy() -> None:
    off = "environ={'CLIP_INFERENCE_BACKEND': 'off'}"
    loaded = modules_after(
        f"from heimdex_clip import AsyncClipClient, ClipClient\n"
        f"assert ClipClient.from_env({off}).embed_image(url='https://x').backend == 'off'\n"
        f"AsyncClipClient.from_env({off})"
    )
    assert not loaded & HEAVY


def test_the_command_line_needs_nothing_of_the_extras() -> None:
    loaded = modules_after("from heimdex_clip import __main__, _fetch")
    assert not loaded & (HEAVY - {"httpx", "ssl", "asyncio", "anyio"})
    assert "storage3" not in loaded


def test_the_client_loads_httpx_and_nothing_of_the_encoder() -> None:
    loaded = modules_after("import heimdex_clip; heimdex_clip.ClipClient('e', 'k', 's').close()")
    assert "httpx" in loaded
    assert not loaded & {"PIL", "aiohttp", "numpy", "onnxruntime", "requests", "runpod", "tokenizers", "torch"}


def test_every_public_name_is_there_and_listed() -> None:
    assert set(heimdex_clip.__all__) <= set(dir(heimdex_clip))
    for name in heimdex_clip.__all__:
        assert getattr(heimdex_clip, name).__module__.startswith("heimdex_clip.")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = heimdex_clip.nothing


def test_the_types_are_published() -> None:
    assert (Path(heimdex_clip.__file__).parent / "py.typed").is_file()


def test_the_package_alone_needs_httpx_alone() -> None:
    needs = importlib.metadata.requires("heimdex-clip") or []
    assert [need for need in needs if "extra ==" not in need] == ["httpx>=0.27"]
    (script,) = importlib.metadata.distribution("heimdex-clip").entry_points
    assert (script.name, script.value) == ("heimdex-clip", "heimdex_clip.__main__:main")
