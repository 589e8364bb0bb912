"""The arrows between packages: who may import whom, held over the syntax tree of every file.

::

    worker, export, deploy, bench ──> heimdex_clip        never back, never sideways
    heimdex_clip.encoder ──> heimdex_clip.errors          and nothing else of the package around it
    runpod: worker/handler.py     onnxruntime, tensorrt: heimdex_clip/encoder/runtimes/     torch: export/, bench/

bench and tests may look anywhere; no product code looks at them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("heimdex_clip", "worker", "export", "deploy", "bench", "tests")
ANYWHERE = ("bench", "tests")
APPLICATIONS = ("worker", "export", "deploy")

# Module -> where it may be imported, as files or folders.
RESERVED = {
    # bench's are the workers that it measures ours against.
    "runpod": ("worker/handler.py", "bench/pytorch_worker.py", "bench/stub_bare.py", "bench/stub_worker.py", "tests"),
    # bench's are the drivers that run it with nothing around it.
    "onnxruntime": ("heimdex_clip/encoder/runtimes", "bench/peers", "tests"),
    "tensorrt": ("heimdex_clip/encoder/runtimes", "tests"),
    "tensorrt_lean": ("heimdex_clip/encoder/runtimes", "tests"),
    "tensorrt_rtx": ("heimdex_clip/encoder/runtimes", "tests"),
    "torch": ("export", "bench", "tests"),
    "torchvision": ("export", "bench", "tests"),
    "open_clip": ("export", "bench", "tests"),
}
ENCODER_MAY_IMPORT = ("heimdex_clip/encoder", "heimdex_clip/errors")


def imports(path: str, source: str) -> Iterator[str]:
    """Every module that a file names in an import, at any depth of its code, relative ones resolved.

    ``from a import b`` gives ``a.b``: whether b is a module cannot be told from the syntax, and a rule that
    holds for a.b holds for a. Also what `import_module` and `__import__` are given as a constant.
    """
    package = path.removesuffix(".py").removesuffix("/__init__").split("/")
    if not path.endswith("/__init__.py"):
        package = package[:-1]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package[: len(package) - level + 1] if level else []
                stem = ".".join([*base, *([module] if module else [])])
                yield from (f"{stem}.{alias.name}" for alias in names)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(given)), *_]):
                if name in ("import_module", "__import__"):
                    yield given


def violations(path: str, source: str) -> list[str]:
    """Why a file's imports break the arrows; empty when they hold. `path` is relative to the root, with slashes."""
    return [
        f"{path} imports {module}: {reason}"
        for module in imports(path, source)
        if (reason := _broken(path, module)) is not None
    ]


def _broken(path: str, module: str) -> str | None:
    here, there = path.split("/")[0], module.split(".")[0]
    if there in RESERVED and not any(_inside(path, place) for place in RESERVED[there]):
        return f"only {', '.join(RESERVED[there])} may"
    if here in ANYWHERE or there not in PACKAGES:
        return None
    if here in APPLICATIONS and there not in (here, "heimdex_clip"):
        return "an application looks at heimdex_clip and itself"
    if here == "heimdex_clip" and there != "heimdex_clip":
        return "the library looks at no application"
    of_the_encoder = _inside(path, "heimdex_clip/encoder") and there == "heimdex_clip"
    if of_the_encoder and not any(_inside(module.replace(".", "/"), place) for place in ENCODER_MAY_IMPORT):
        return "the encoder looks at nothing around it but the errors"
    return None


def _inside(path: str, place: str) -> bool:
    return path == place or path.startswith(place + "/")


FILES = sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_files_are_found() -> None:
    assert {path.split("/")[0] for path in FILES} >= {"heimdex_clip", "worker", "export", "bench", "tests"}


@pytest.mark.parametrize("path", FILES)
def test_the_arrows_hold(path: str) -> None:
    assert violations(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("worker/service.py", "import runpod"),
        ("worker/service.py", "from runpod.serverless import start"),
        ("worker/handler.py", "import bench.jobapi"),
        ("worker/handler.py", "from tests.heimdex_clip import endpoint"),
        ("worker/stages.py", "from export import parity"),
        ("worker/stages.py", "import torch"),
        ("worker/stages.py", "import onnxruntime as ort"),
        ("worker/http/app.py", "from ...bench import ratios"),
        ("export/parity.py", "import onnxruntime"),
        ("export/parity.py", "from worker.settings import Settings"),
        ("export/parity.py", "if True:\n    def f():\n        import runpod"),
        ("deploy/__main__.py", "from worker import settings"),
        ("bench/ceiling.py", "import onnxruntime"),
        ("bench/ceiling.py", "import tensorrt"),
        ("bench/jobapi.py", "import runpod"),
        ("heimdex_clip/client.py", "import worker"),
        ("heimdex_clip/client.py", "import bench"),
        ("heimdex_clip/client.py", "import torch.nn"),
        ("heimdex_clip/encoder/encoder.py", "import onnxruntime"),
        ("heimdex_clip/encoder/encoder.py", "from heimdex_clip import contract"),
        ("heimdex_clip/encoder/encoder.py", "from heimdex_clip import sign_v1"),
        ("heimdex_clip/encoder/encoder.py", "import heimdex_clip"),
        ("heimdex_clip/encoder/encoder.py", "from .. import signing"),
        ("heimdex_clip/encoder/__init__.py", "from ..client import ClipClient"),
        ("heimdex_clip/encoder/runtimes/ort_cpu.py", "from ...contract import Embedding"),
        ("heimdex_clip/encoder/runtimes/ort_cpu.py", "import torch"),
        ("heimdex_clip/signing.py", "import importlib; importlib.import_module('torch')"),
        ("heimdex_clip/signing.py", "__import__('runpod')"),
    ],
)
def test_a_planted_violation_is_found(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "worker/handler.py",
            "import runpod\nfrom heimdex_clip.encoder.encoder import Encoder\nfrom worker import log",
        ),
        ("worker/http/app.py", "from . import door\nfrom ..service import EmbeddingService"),
        ("export/towers.py", "import torch, open_clip\nfrom heimdex_clip.encoder import gates"),
        ("bench/start.py", "import torch\nfrom worker.settings import Settings\nfrom export import parity"),
        ("tests/worker/test_sdk.py", "import runpod, torch, onnxruntime, bench, worker, export"),
        ("heimdex_clip/client.py", "import httpx\nfrom heimdex_clip.encoder.encoder import open_encoder"),
        ("heimdex_clip/encoder/runtimes/ort_cpu.py", "import onnxruntime\nfrom heimdex_clip.errors import ModelError"),
        ("heimdex_clip/encoder/encoder.py", "from heimdex_clip.encoder import golden\nfrom ..errors import ModelError"),
        ("heimdex_clip/encoder/gates.py", "import torchlike, worker_pool"),
    ],
)
def test_what_the_arrows_allow_passes(path: str, source: str) -> None:
    assert violations(path, source) == []
