"""The manifest of a model folder: what it is, what each file must hash to, how near it came to PyTorch.

`identity` holds what decides a vector's meaning (source weights, activation, preprocessing, tokenizer) and
nothing that may differ between builds of the same model (engines, precision). `model_digest` is the first
16 hex digits of the sha256 of identity's canonical JSON.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from heimdex_clip.encoder import engines
from heimdex_clip.encoder.engines import Engine
from heimdex_clip.encoder.gates import Parity, parse_parity
from heimdex_clip.errors import ModelError

SCHEMA = 1
FILE_NAME = "manifest.json"
DATA = ".data"
"""A graph's weights lie beside it, in the file of its name with this ending, unless it holds them itself."""
RESIZE_RULE = "pillow-bicubic-antialias, short side, long side int(size*long/short)"
CROP_RULE = "centre, offset int(round((n-size)/2.0)), then RGB"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_REASON_CHARS = 200


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What turns an image into the graph's input; normalisation is inside the graph."""

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str = RESIZE_RULE
    crop: str = CROP_RULE


@dataclass(frozen=True, slots=True)
class TokenizerIdentity:
    """The tokenizer file's sha256 and the row it makes: `context_length` ids from `sot` to `eot`."""

    sha256: str
    context_length: int
    sot: int
    eot: int


@dataclass(frozen=True, slots=True)
class Identity:
    """What a vector's meaning depends on, and so what the digest covers."""

    weights_sha256: str
    quick_gelu: bool
    embedding_dim: int
    preprocessing: Preprocessing
    tokenizer: TokenizerIdentity

    @property
    def digest(self) -> str:
        """16 hex digits; equal digests mean comparable vectors."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the folder. Graphs also have `tower` ("image" | "text"), `precision`, `opset`, `parity`."""

    sha256: str
    bytes: int
    tower: str | None = None
    precision: str | None = None
    opset: int | None = None
    parity: Parity | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole of manifest.json. `untrained` marks seeded weights, whose vectors carry no meaning."""

    model: str
    pretrained: str
    untrained: bool
    identity: Identity
    exporter: Mapping[str, str]
    files: Mapping[str, FileEntry]
    engines: Mapping[str, Engine] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def model_digest(self) -> str:
        """See `Identity.digest`."""
        return self.identity.digest

    def graph(self, tower: str, precision: str) -> str:
        """The file name of a tower's ONNX graph. Raises ModelError when the folder has none."""
        for name, entry in self.files.items():
            if entry.tower == tower and entry.precision == precision:
                return name
        raise ModelError(f"the manifest lists no {precision} graph of the {tower} tower")

    def graph_files(self, tower: str, precision: str) -> tuple[str, ...]:
        """The graph's file and, where it has one, that of its weights. Raises ModelError as `graph` does."""
        name = self.graph(tower, precision)
        return tuple(file for file in (name, name + DATA) if file in self.files)

    def entry(self, name: str) -> FileEntry:
        """The entry of a file. Raises ModelError when the manifest does not list it."""
        try:
            return self.files[name]
        except KeyError:
            raise ModelError(f"the manifest does not list {name}") from None

    def save(self, folder: Path) -> None:
        """Write manifest.json into the folder, with `model_digest` for people to read."""
        document = {"model_digest": self.model_digest, **asdict(self)}
        (folder / FILE_NAME).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def load(folder: Path, *, expected_sha256: str = "") -> Manifest:
    """Read a folder's manifest; with `expected_sha256` its bytes must hash to that.

    Raises ModelError, in one line, for a missing, altered or malformed manifest.
    """
    path = folder / FILE_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"no model at {folder}: cannot read {FILE_NAME} ({error.strerror})") from None
    actual = hashlib.sha256(data).hexdigest()
    if expected_sha256 and actual != expected_sha256.lower():
        raise ModelError(f"{path} has sha256 {actual}, not MODEL_MANIFEST_SHA256 {expected_sha256}")
    try:
        return _from_document(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        reason = f"{type(error).__name__}: {_brief(str(error))}"
        raise ModelError(f"{path} is not a manifest of schema {SCHEMA}: {reason}") from None


def check_file(folder: Path, name: str, entry: FileEntry) -> None:
    """Hash one file against its entry. Raises ModelError when it is missing or differs."""
    path = folder / name
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror})") from None
    _compare(path, actual, entry)


def read_checked(folder: Path, name: str, entry: FileEntry) -> bytes:
    """A file's bytes, for what must not be touched before its hash holds.

    Raises ModelError when it is missing or differs.
    """
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror})") from None
    _compare(path, hashlib.sha256(data).hexdigest(), entry)
    return data


def _compare(path: Path, actual: str, entry: FileEntry) -> None:
    if actual != entry.sha256:
        raise ModelError(f"{path} has sha256 {actual}; the manifest says {entry.sha256}")


def _from_document(document: dict[str, Any]) -> Manifest:
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema is {document['schema']!r}")
    raw = document["identity"]
    pre = raw["preprocessing"]
    identity = Identity(
        weights_sha256=_sha256(raw["weights_sha256"]),
        quick_gelu=_typed(raw["quick_gelu"], bool),
        embedding_dim=_whole(raw["embedding_dim"], 1),
        preprocessing=Preprocessing(
            **{
                **pre,
                "image_size": _whole(pre["image_size"], 1),
                "mean": _triple(pre["mean"]),
                "std": _triple(pre["std"]),
                "resize": _typed(pre["resize"], str),
                "crop": _typed(pre["crop"], str),
            }
        ),
        tokenizer=_tokenizer(raw["tokenizer"]),
    )
    manifest = Manifest(
        model=_name(document["model"]),
        pretrained=_name(document["pretrained"]),
        untrained=_typed(document["untrained"], bool),
        identity=identity,
        exporter={name: str(version) for name, version in document["exporter"].items()},
        files={_file_name(name): _file_entry(entry) for name, entry in document["files"].items()},
        engines=engines.parse(document["engines"]),
    )
    if document.get("model_digest") != manifest.model_digest:
        raise ValueError("model_digest does not match identity")
    return manifest


def _file_entry(raw: dict[str, Any]) -> FileEntry:
    known = {
        "sha256": _sha256(raw["sha256"]),
        "bytes": _whole(raw["bytes"], 0),
        "parity": parse_parity(raw["parity"]) if raw.get("parity") else None,
    }
    for name, kind in (("tower", str), ("precision", str), ("opset", int)):
        if raw.get(name) is not None:
            _typed(raw[name], kind)
    return FileEntry(**{**raw, **known})


def _tokenizer(raw: dict[str, Any]) -> TokenizerIdentity:
    known = {"sha256": _sha256(raw["sha256"]), "context_length": _whole(raw["context_length"], 2)}
    return TokenizerIdentity(**{**raw, **known, "sot": _whole(raw["sot"], 0), "eot": _whole(raw["eot"], 0)})


def _name(value: Any) -> str:
    # Folders are named after it.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", _typed(value, str)):
        raise ValueError(f"{value!r} is not a name of letters, digits and ._-")
    return str(value)


def _file_name(name: str) -> str:
    # A manifest comes with the folder: it must not name a file outside of it.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", name):
        raise ValueError(f"{name!r} is not a file name inside the folder")
    return name


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError("a sha256 must have 64 hex digits")
    return value


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value


def _whole(value: Any, low: int) -> int:
    if _typed(value, int) < low:
        raise ValueError(f"{value} is less than {low}")
    return int(value)


def _triple(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError("a mean or standard deviation is not finite")
    return red, green, blue


def _brief(message: str) -> str:
    """A message that may quote the file, fit for one line of a terminal."""
    words = " ".join(message.split())[:_MAX_REASON_CHARS]
    return "".join(char if char.isprintable() else "?" for char in words)
