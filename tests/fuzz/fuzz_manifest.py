"""A model folder's manifest: a whole one, or a ModelError on one line; and nothing in a whole one leads astray."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from heimdex_clip.encoder import engines, gates, manifest
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.errors import ClipError, LaneUnavailable, ModelError
from tests.fuzz.target import Check, Target, check_error


@contextmanager
def _open(_model: Path, work: Path) -> Iterator[Check]:
    (work / "again").mkdir()

    def check(data: bytes) -> None:
        for text in (data, _with_true_digest(data)):
            (work / manifest.FILE_NAME).write_bytes(text)
            try:
                found = manifest.load(work)
            except ClipError as error:
                check_error(error, ModelError)
            else:
                _check_whole(found, work)

    yield check


def _with_true_digest(data: bytes) -> bytes:
    """The manifest as a liar would write it: whatever stands in `identity`, its digest is right."""
    try:
        document = json.loads(data)
        canonical = json.dumps(document["identity"], sort_keys=True, separators=(",", ":"))
        document["model_digest"] = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        return json.dumps(document).encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return b""


def _check_whole(found: Manifest, work: Path) -> None:
    identity = found.identity
    preprocessing, tokens = identity.preprocessing, identity.tokenizer
    assert all(isinstance(text, str) for text in (found.model, found.pretrained, preprocessing.resize))
    models = work / "models"
    assert (models / f"{found.model}-{found.pretrained}").resolve().parent == models.resolve()
    assert identity.embedding_dim > 0
    assert preprocessing.image_size > 0
    assert all(isinstance(value, float) for value in (*preprocessing.mean, *preprocessing.std))
    assert min(tokens.sot, tokens.eot) >= 0
    assert tokens.context_length >= 2
    for name, entry in found.files.items():
        assert (work / name).resolve().is_relative_to(work.resolve())
        assert "\x00" not in name
        assert f"{name} ({entry.bytes / 1e6:.1f} MB)"
        assert entry.parity is None or (str(entry.parity) and gates.SELF_TEST.holds(entry.parity) in (True, False))
    for flavour in engines.FLAVOURS:
        try:
            engines.fit(found, flavour, 89)
        except ClipError as error:
            check_error(error, LaneUnavailable, ModelError)
        engines.measured(found, flavour)
    for tower in ("image", "text"):
        try:
            found.graph_files(tower, "fp32")
        except ClipError as error:
            check_error(error, ModelError)
    found.save(work / "again")
    assert manifest.load(work / "again") == found


_SHA256 = "0" * 63 + "1"


def seeds() -> Sequence[bytes]:
    """A manifest with everything that one may have, and one with the least."""
    parity = {"min_cosine": 0.99999, "max_abs": 1e-5, "vectors": 7}
    identity = {
        "weights_sha256": _SHA256,
        "quick_gelu": True,
        "embedding_dim": 512,
        "preprocessing": {
            "image_size": 224,
            "mean": [0.48, 0.45, 0.4],
            "std": [0.26, 0.26, 0.27],
            "resize": manifest.RESIZE_RULE,
            "crop": manifest.CROP_RULE,
        },
        "tokenizer": {"sha256": _SHA256, "context_length": 77, "sot": 49406, "eot": 49407},
    }
    graph = {"sha256": _SHA256, "bytes": 10, "tower": "image", "precision": "fp32", "opset": 18, "parity": parity}
    plan = {
        "file": "engines/x/image.plan",
        "onnx_sha256": {"image.fp16.onnx": _SHA256},
        "profiles": [[1, 1, 1], [1, 8, 64]],
        "parity": parity,
    }
    engine = {
        "flavour": "tensorrt",
        "compute_capabilities": [89],
        "tensorrt": "10.16.1.11",
        "precision": "fp16",
        "plans": {"image": plan, "text": {**plan, "parity": None}},
        "measured_on": "",
    }
    whole = {
        "schema": 1,
        "model": "ViT-B-32",
        "pretrained": "openai",
        "untrained": False,
        "identity": identity,
        "exporter": {"torch": "2"},
        "files": {"image.fp32.onnx": graph, "tokenizer.json": {"sha256": _SHA256, "bytes": 1}},
        "engines": {"tensorrt-sm89": engine},
        "model_digest": "",
    }
    least = {**whole, "files": {}, "engines": {}, "exporter": {}}
    return [_with_true_digest(json.dumps(document).encode()) for document in (whole, least)]


TARGET = Target(_open, seeds, json=True, runs=2000, max_bytes=8192)
