"""The folders that the peers read, made once from the model folder's weights and kept below ``build/peers``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from bench import environments
from heimdex_clip.encoder.manifest import Manifest

REFERENCE = "open_clip.json"
_TOKENIZER = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_COMPLETE = ".complete"


async def make(manifest: Manifest, checkpoint: Path, transformers_python: Path) -> Path:
    """The folder with all of them. Raises BenchError when one can't be made, or the conversion changed the model."""
    folder = environments.FOLDER / "models" / manifest.identity.weights_sha256[:16]
    if (folder / _COMPLETE).exists():
        return folder
    print("making the peers' model folders from the same weights (about a minute)", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    quick = manifest.identity.quick_gelu
    arguments = (manifest.model, str(checkpoint), str(int(quick)), str(folder))
    await environments.run(sys.executable, "-m", "bench.peers.convert", *arguments)
    await environments.run(str(transformers_python), "-m", "bench.peers.hf_finish", str(folder / "hf"))
    for name in _TOKENIZER:
        shutil.copy(folder / "hf" / name, folder / "fastembed-text" / name)
    said = {"model": manifest.model, "checkpoint": str(checkpoint), "quick_gelu": quick}
    (folder / REFERENCE).write_text(json.dumps(said))
    (folder / _COMPLETE).touch()
    return folder
