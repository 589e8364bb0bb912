"""The single checks of a verification: files, golden vectors and, against a fresh PyTorch run, whole pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.corpus import Case
from export.report import FileCheck, Row
from heimdex_clip.encoder import golden, manifest
from heimdex_clip.encoder.encoder import Encoder, StartReport
from heimdex_clip.encoder.gates import EXPORT, EXPORT_FP32, Gate, measure
from heimdex_clip.encoder.golden import Golden
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.preprocess import preprocess
from heimdex_clip.encoder.runtimes.base import Lane
from heimdex_clip.encoder.tokenizer import TokenBatch
from heimdex_clip.errors import ClipError, ModelError

if TYPE_CHECKING:
    from export.reference import Reference

PYTORCH = "PyTorch"
"""Stands for a lane where stored golden vectors are compared with a fresh reference run."""
_MAX_PIXELS = 50_000_000
_CHUNK = 8

Vectors = NDArray[np.float32]


def check_files(folder: Path, model: Manifest) -> tuple[FileCheck, ...]:
    """Hash every file of the manifest."""
    return tuple(_check_file(folder, model, name) for name in sorted(model.files))


def _check_file(folder: Path, model: Manifest, name: str) -> FileCheck:
    entry = model.entry(name)
    try:
        manifest.check_file(folder, name, entry)
    except ModelError as error:
        return FileCheck(name, entry.bytes, entry.sha256, str(error))
    return FileCheck(name, entry.bytes, entry.sha256)


@dataclass(frozen=True, slots=True)
class Expected:
    """One group of inputs for every lane, with the reference's vectors, float32 ``[N, D]``.

    `same_input`: per input whether pixels or ids equal the reference's, None where they were given.
    """

    group: str
    names: tuple[str, ...]
    vectors: Vectors
    run: Callable[[Encoder], Vectors]
    same_input: Callable[[Encoder], Sequence[bool | None]]


def golden_groups(folder: Path) -> list[Expected]:
    """The stored golden vectors: pictures given as pixels, texts as they are."""
    stored = golden.load(folder)
    names = tuple(f"golden picture {index}" for index in range(len(stored.pixels)))
    return [
        Expected("golden pictures", names, stored.image_embeddings, _pixels_run(stored.pixels), _given(len(names))),
        _text_group("golden texts", stored.texts, stored.ids, stored.text_embeddings),
    ]


def reference_groups(reference: Reference, cases: dict[str, list[Case]], texts: Sequence[str]) -> list[Expected]:
    """Pictures from their encoded bytes and texts, with the vectors of a PyTorch run made now."""
    groups = [_picture_group(reference, group, rows) for group, rows in cases.items()]
    ids = reference.text_ids(texts)
    return [*groups, _text_group("texts", texts, ids, reference.text_vectors(texts))]


def golden_against(reference: Reference, stored: Golden) -> Iterator[Row]:
    """The stored golden vectors themselves, against a PyTorch run made now."""
    ids = reference.text_ids(stored.texts)
    pairs = (
        ("golden pictures", stored.image_embeddings, reference.pixel_vectors(stored.pixels), None),
        ("golden texts", stored.text_embeddings, reference.text_vectors(stored.texts), np.array_equal(ids, stored.ids)),
    )
    for group, kept, fresh, same_input in pairs:
        parity = measure(kept, fresh)
        yield Row(group, f"all {len(kept)}, as stored", PYTORCH, EXPORT_FP32, same_input, parity)


def lane_rows(folder: Path, model: Manifest, lane: Lane, groups: Sequence[Expected]) -> list[Row]:
    """Every input on one lane. What the lane cannot do is a failed row, never an error."""
    gate = EXPORT[lane.precision]
    try:
        encoder = Encoder(folder, model, lane, lane.open(folder, model, "image"), StartReport())
    except ClipError as error:
        return [Row(group.group, "(all)", lane.name, gate, problem=str(error)) for group in groups]
    rows = []
    for group in groups:
        try:
            rows += _group_rows(encoder, group, gate)
        except ClipError as error:
            rows.append(Row(group.group, "(all)", lane.name, gate, problem=str(error)))
    return rows


def _group_rows(encoder: Encoder, group: Expected, gate: Gate) -> list[Row]:
    vectors, same_input = group.run(encoder), group.same_input(encoder)
    return [
        Row(group.group, name, encoder.lane.name, gate, same, measure(vector[None], expected[None]))
        for name, same, vector, expected in zip(group.names, same_input, vectors, group.vectors, strict=True)
    ]


def _picture_group(reference: Reference, group: str, cases: Sequence[Case]) -> Expected:
    size = reference.weights.preprocessing.image_size
    pixels = np.stack([preprocess(case.data, size=size, max_pixels=_MAX_PIXELS) for case in cases])
    same = [np.array_equal(own, reference.pixels(case.data)) for own, case in zip(pixels, cases, strict=True)]
    return Expected(
        group,
        tuple(case.name for case in cases),
        reference.image_vectors([case.data for case in cases]),
        _pixels_run(pixels),
        lambda _: same,
    )


def _text_group(group: str, texts: Sequence[str], ids: NDArray[np.int64], vectors: Vectors) -> Expected:
    def same_ids(encoder: Encoder) -> list[bool]:
        tokenize, _ = encoder.load_text()
        return [_equal_row(tokenize([text]), row) for text, row in zip(texts, ids, strict=True)]

    return Expected(group, tuple(map(repr, texts)), vectors, lambda encoder: _encode_texts(encoder, texts), same_ids)


def _equal_row(own: TokenBatch, expected: NDArray[np.int64]) -> bool:
    """Own trimmed row against a row padded with 0 to the context length, the end-of-text index included."""
    length = own.ids.shape[1]
    same = length <= len(expected) and np.array_equal(own.ids[0], expected[:length])
    return bool(same and not expected[length:].any() and own.eot[0] == expected.argmax())


def _encode_texts(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    parts = [encoder.encode_texts(texts[start : start + _CHUNK])[0] for start in range(0, len(texts), _CHUNK)]
    return np.concatenate(parts)


def _pixels_run(pixels: NDArray[np.uint8]) -> Callable[[Encoder], Vectors]:
    def run(encoder: Encoder) -> Vectors:
        chunks = (pixels[start : start + _CHUNK] for start in range(0, len(pixels), _CHUNK))
        return np.concatenate([encoder.encode_pixels(chunk) for chunk in chunks])

    return run


def _given(count: int) -> Callable[[Encoder], Sequence[bool | None]]:
    return lambda _: [None] * count
