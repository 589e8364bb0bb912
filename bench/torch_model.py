"""The weights that a model folder was exported from, as a file that the PyTorch reference worker loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contenders import CACHE
from bench.errors import BenchError
from heimdex_clip.encoder.manifest import Manifest

if TYPE_CHECKING:
    from export.weights import Source


def checkpoint(manifest: Manifest, source_file: Path | None) -> Path:
    """A safetensors file of the model folder's weights, made once and kept.

    They come from `source_file`, or from the seed where the folder's weights are untrained. So the start
    that is measured reads weights from disk, in the form that open_clip reads fastest, as it does in
    production. Raises BenchError when the weights cannot be had or are not the folder's, ModelError and
    SettingsError when the file cannot be read.
    """
    path = CACHE / f"{manifest.model}-{manifest.pretrained}-{manifest.identity.weights_sha256[:16]}.safetensors"
    if not path.exists():
        print(f"saving the weights for the PyTorch worker: {path.name}", flush=True)
        _save(manifest, _source(manifest, source_file), path)
    return path


def _source(manifest: Manifest, source_file: Path | None) -> Source:
    from export.weights import OPENAI, UNTRAINED_PREFIX, Source

    if source_file is None and not manifest.untrained:
        raise BenchError(f"give the file of the weights {manifest.pretrained!r} with --checkpoint")
    if source_file is None:
        seed = int(manifest.pretrained.removeprefix(UNTRAINED_PREFIX))
        return Source(manifest.model, untrained=seed, quick_gelu=manifest.identity.quick_gelu)
    if manifest.pretrained == OPENAI:
        return Source(manifest.model, checkpoint=source_file)
    return Source(
        manifest.model, checkpoint=source_file, tag=manifest.pretrained, quick_gelu=manifest.identity.quick_gelu
    )


def _save(manifest: Manifest, source: Source, path: Path) -> None:
    from safetensors.torch import save_file

    from export.progress import Progress
    from export.weights import resolve

    weights = resolve(source, cache=CACHE, progress=Progress())
    if weights.sha256 != manifest.identity.weights_sha256:
        raise BenchError(f"these are not the weights of the model folder: their sha256 is {weights.sha256}")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    save_file(weights.clip.state_dict(), unfinished)
    unfinished.rename(path)
