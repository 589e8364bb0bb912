"""Weights -> a whole model folder, which gets its name only once every gate has held."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from torch import nn

from export import golden_inputs, graph, graph_checks, parity, tokenizer_file
from export.checkpoint import sha256_of
from export.graph_checks import Expected
from export.parity import Trial
from export.progress import Progress
from export.towers import ImageTower, TextTower
from export.weights import Weights
from heimdex_clip.encoder import golden, manifest, tokenizer
from heimdex_clip.encoder.gates import Parity
from heimdex_clip.encoder.golden import Golden
from heimdex_clip.encoder.manifest import FileEntry, Identity, Manifest
from heimdex_clip.encoder.runtimes.base import TowerName
from heimdex_clip.errors import ModelError, SettingsError

PRECISIONS = ("fp32", "fp16")
_PACKAGES = ("torch", "torchvision", "open_clip_torch", "onnx", "onnxscript", "tokenizers", "pillow")


class _Export(Protocol):
    def __call__(self, *, path: Path, precision: str) -> None: ...


def build(weights: Weights, out: Path, progress: Progress) -> Manifest:
    """Make the folder `out`, replacing a model folder that is there.

    Raises ModelError when a check or gate fails, and then `out` is as it was before; SettingsError when
    `out` is something else than a model folder.
    """
    with _staging(out) as folder:
        with progress.step("tokenizer"):
            identity = _identity(folder, weights)
            files = {tokenizer.FILE_NAME: _entry(folder / tokenizer.FILE_NAME)}
        with progress.step("reference vectors by PyTorch"):
            reference = golden_inputs.make(weights)
            reference.save(folder)
            files[golden.FILE_NAME] = _entry(folder / golden.FILE_NAME)
        files |= _image_graphs(folder, weights, reference, progress)
        files |= _text_graphs(folder, weights, reference, progress)
        made = Manifest(
            model=weights.model,
            pretrained=weights.pretrained,
            untrained=weights.untrained,
            identity=identity,
            exporter={name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
            files=files,
        )
        made.save(folder)
        # What a worker will read, read once here.
        return manifest.load(folder)


def _identity(folder: Path, weights: Weights) -> Identity:
    """Also writes the tokenizer's file, which is part of the identity."""
    row = tokenizer_file.write(folder, weights.clip.context_length)
    if row.eot != weights.clip.vocab_size - 1:
        raise ModelError(f"{weights.model} does not use the first CLIP's tokenizer; not supported")
    return Identity(
        weights_sha256=weights.sha256,
        quick_gelu=weights.quick_gelu,
        embedding_dim=weights.clip.visual.output_dim,
        preprocessing=weights.preprocessing,
        tokenizer=row,
    )


def _image_graphs(folder: Path, weights: Weights, reference: Golden, progress: Progress) -> dict[str, FileEntry]:
    visual, size = weights.clip.visual, weights.preprocessing.image_size
    tower = ImageTower(visual, weights.preprocessing.mean, weights.preprocessing.std)
    shapes: dict[str, tuple[int | str, ...]] = {"pixels": ("batch", size, size, 3)}
    expected = _expected("image", shapes, visual, visual.transformer, weights)
    export = partial(graph.export_image, tower, image_size=size)
    return _graphs(folder, expected, export, partial(parity.image_trial, weights, reference), progress)


def _text_graphs(folder: Path, weights: Weights, reference: Golden, progress: Progress) -> dict[str, FileEntry]:
    clip = weights.clip
    tower = TextTower(clip)
    shapes: dict[str, tuple[int | str, ...]] = {"ids": ("batch", "length"), "eot": ("batch",)}
    expected = _expected("text", shapes, tower, clip.transformer, weights)
    export = partial(graph.export_text, tower, context_length=clip.context_length)
    return _graphs(folder, expected, export, partial(parity.text_trial, weights, reference), progress)


def _graphs(
    folder: Path, expected: Expected, export: _Export, trial_of: Callable[[], Trial], progress: Progress
) -> dict[str, FileEntry]:
    """One tower in every precision, each held to its form and to its gates as soon as it is written."""
    tower = expected.tower
    trial = None
    files: dict[str, FileEntry] = {}
    for precision in PRECISIONS:
        path = folder / f"{tower}.{precision}.onnx"
        with progress.step(f"exporting {path.name}"):
            export(path=path, precision=precision)
            graph_checks.check(path, expected)
        with progress.step(f"parity of {path.name}"):
            trial = trial or trial_of()
            measured = parity.measure_graph(path, tower, precision, trial)
        progress.say(f"  {measured}")
        files |= _graph_entries(path, tower, precision, measured)
    return files


def _expected(
    tower: TowerName,
    shapes: dict[str, tuple[int | str, ...]],
    source: nn.Module,
    transformer: nn.Module,
    weights: Weights,
) -> Expected:
    return Expected(
        tower=tower,
        shapes=shapes,
        embedding_dim=weights.clip.visual.output_dim,
        layers=len(transformer.resblocks),  # type: ignore[arg-type]
        layer_norms=sum(isinstance(module, nn.LayerNorm) for module in source.modules()),
        quick_gelu=weights.quick_gelu,
    )


def _graph_entries(path: Path, tower: str, precision: str, measured: Parity) -> dict[str, FileEntry]:
    weights = path.with_name(path.name + manifest.DATA)
    return {path.name: _entry(path, tower, precision, measured), weights.name: _entry(weights)}


def _entry(
    path: Path, tower: str | None = None, precision: str | None = None, measured: Parity | None = None
) -> FileEntry:
    return FileEntry(
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        tower=tower,
        precision=precision,
        opset=graph.OPSET if tower else None,
        parity=measured,
    )


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block ends well, and is removed when it does not."""
    if out.exists() and not (out / manifest.FILE_NAME).is_file() and not _is_empty_folder(out):
        raise SettingsError(f"{out} holds something that is not a model; choose another --out")
    folder = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
        # mkdtemp's own mode would keep a worker under another user out.
        folder.chmod(0o755)
        yield folder
        _take_place(folder, out)
    except OSError as error:
        raise ModelError(f"cannot write {out} ({error.strerror or error})") from None
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _take_place(folder: Path, out: Path) -> None:
    old = folder.with_name(f"{folder.name}.old")
    if out.exists():
        out.rename(old)
    folder.rename(out)
    shutil.rmtree(old, ignore_errors=True)
