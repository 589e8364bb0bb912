"""The drift gate: the golden vectors of each of two model folders, computed by the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from export.progress import Progress
from heimdex_clip.encoder import golden, manifest
from heimdex_clip.encoder.encoder import open_encoder
from heimdex_clip.encoder.gates import DRIFT, Parity, measure
from heimdex_clip.encoder.golden import Golden
from heimdex_clip.encoder.manifest import Manifest


@dataclass(frozen=True, slots=True)
class DriftRow:
    """One golden vector; `direction` "A -> B" is A's input and vector against what B computes for that input."""

    direction: str
    name: str
    parity: Parity

    @property
    def holds(self) -> bool:
        """Whether the drift gate passes."""
        return DRIFT.holds(self.parity)


@dataclass(frozen=True, slots=True)
class Drift:
    """Two folders compared. `reasons` rule a comparison out, and then there are no rows."""

    a: Manifest
    b: Manifest
    reasons: tuple[str, ...]
    rows: tuple[DriftRow, ...]

    @property
    def compatible(self) -> bool:
        """Whether vectors of both may be compared."""
        return not self.reasons and bool(self.rows) and all(row.holds for row in self.rows)

    @property
    def summary(self) -> str:
        """The counts and the worst figure, or why there are none."""
        if not self.rows:
            return f"{len(self.reasons)} of what makes vectors comparable differ"
        drifting = sum(not row.holds for row in self.rows)
        # Not min() alone: it may pass a NaN over.
        lowest = next((row for row in self.rows if row.parity.min_cosine != row.parity.min_cosine), None)
        lowest = lowest or min(self.rows, key=lambda row: row.parity.min_cosine)
        return f"{drifting} of {len(self.rows)} golden vectors drift, lowest cosine {lowest.parity.min_cosine:.9f}"


def compare(a: Path, b: Path, *, runtime: str, progress: Progress) -> Drift:
    """Compare two folders on the serving lane that `runtime` allows, both ways.

    Raises SettingsError, ModelError and LaneUnavailable.
    """
    models = manifest.load(a), manifest.load(b)
    reasons = tuple(_reasons(*models))
    rows: list[DriftRow] = []
    if not reasons:
        for direction, source, other in (("A -> B", a, b), ("B -> A", b, a)):
            with progress.step(f"golden vectors {direction}"):
                rows += _rows(direction, source, other, runtime)
    return Drift(*models, reasons, tuple(rows))


def _reasons(a: Manifest, b: Manifest) -> Iterator[str]:
    """What needs no computing. Weights, activation and tokenizer are left to the vectors."""
    one, other = a.identity, b.identity
    if one.embedding_dim != other.embedding_dim:
        yield f"embedding_dim is {one.embedding_dim} and {other.embedding_dim}"
    for name in ("image_size", "mean", "std", "resize", "crop"):
        left, right = getattr(one.preprocessing, name), getattr(other.preprocessing, name)
        if left != right:
            yield f"preprocessing: {name} is {left!r} and {right!r}"


def _rows(direction: str, source: Path, other: Path, runtime: str) -> Iterator[DriftRow]:
    """The stored vectors of `source` against those that `other` computes for the same inputs."""
    # open_encoder checks the hash of `other`'s golden file only.
    manifest.check_file(source, golden.FILE_NAME, manifest.load(source).entry(golden.FILE_NAME))
    stored: Golden = golden.load(source)
    encoder = open_encoder(other, runtime=runtime)
    pictures = encoder.encode_pixels(stored.pixels)
    texts, _ = encoder.encode_texts(stored.texts)
    named = [
        *(
            (f"picture {index}", *pair)
            for index, pair in enumerate(zip(pictures, stored.image_embeddings, strict=True))
        ),
        *((repr(text), *pair) for text, *pair in zip(stored.texts, texts, stored.text_embeddings, strict=True)),
    ]
    for name, computed, kept in named:
        yield DriftRow(direction, name, measure(computed[None], kept[None]))
