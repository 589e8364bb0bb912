"""The export's parity gates: each graph against open_clip's own answers, at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export import golden_inputs, oracle
from export.weights import Weights
from heimdex_clip.encoder.gates import BATCH, EXPORT, Gate, Parity, measure
from heimdex_clip.encoder.golden import Golden
from heimdex_clip.encoder.runtimes.base import Tower, TowerName
from heimdex_clip.encoder.runtimes.ort_cpu import open_graph
from heimdex_clip.errors import ModelError

BATCH_SIZES = (1, 2, 7, 32)
_NOISE_SEED = 7


@dataclass(frozen=True, slots=True)
class Trial:
    """One tower's inputs, N rows each, with open_clip's vectors for them, float32 ``[N, D]``."""

    inputs: tuple[NDArray[np.generic], ...]
    expected: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.expected)


def image_trial(weights: Weights, golden: Golden) -> Trial:
    """The golden pictures, then blends of them with noise, up to the largest batch size."""
    more = max(BATCH_SIZES) - len(golden.pixels)
    noise = golden_inputs.noise_pixels(weights.preprocessing.image_size, count=more, seed=_NOISE_SEED)
    base = golden.pixels[np.arange(more) % len(golden.pixels)]
    share = np.arange(1, more + 1).reshape(-1, 1, 1, 1)
    blended = (base.astype(np.int64) * (more + 1 - share) + noise.astype(np.int64) * share) // (more + 1)
    extra = blended.astype(np.uint8)
    pixels = np.concatenate([golden.pixels, extra])
    vectors = np.concatenate([golden.image_embeddings, oracle.image_vectors(weights, extra)])
    return Trial((pixels,), vectors)


def text_trial(weights: Weights, golden: Golden) -> Trial:
    """The golden texts, then texts of many lengths, up to the largest batch size, padded to the context."""
    more = max(BATCH_SIZES) - len(golden.texts)
    texts = [" ".join(golden_inputs.TEXTS[i % len(golden_inputs.TEXTS)].split()[: i + 1]) for i in range(more)]
    extra = oracle.text_ids(weights, [f"{text} {index}" for index, text in enumerate(texts)])
    ids = np.concatenate([golden.ids, extra])
    vectors = np.concatenate([golden.text_embeddings, oracle.text_vectors(weights, extra)])
    return Trial((ids, ids.argmax(axis=1)), vectors)


def measure_graph(path: Path, tower: TowerName, precision: str, trial: Trial) -> Parity:
    """Run every gate on one graph on the CPU; the parity over all its vectors.

    Raises ModelError, with what was measured, when a gate does not hold.
    """
    run = open_graph(path)
    by_size = {size: _in_batches(run, trial, size, _as_is) for size in BATCH_SIZES}
    parities = [measure(vectors, trial.expected) for vectors in by_size.values()]
    for size in BATCH_SIZES[1:]:
        _gate(BATCH, measure(by_size[1], by_size[size]), f"{path.name}, alone against batches of {size}")
    if tower == "text":
        for size in BATCH_SIZES:
            trimmed = _in_batches(run, trial, size, _trimmed)
            parities.append(measure(trimmed, trial.expected))
            _gate(BATCH, measure(trimmed, by_size[size]), f"{path.name}, trimmed against padded")
    # NaN-proof: np.min and np.max hand a NaN on, which no gate passes.
    total = Parity(
        min_cosine=float(np.min([parity.min_cosine for parity in parities])),
        max_abs=float(np.max([parity.max_abs for parity in parities])),
        vectors=sum(parity.vectors for parity in parities),
    )
    _gate(EXPORT[precision], total, path.name)
    return total


def _gate(gate: Gate, parity: Parity, what: str) -> None:
    if not gate.holds(parity):
        limit = "" if gate.max_abs is None else f" and max abs <= {gate.max_abs}"
        raise ModelError(
            f"parity gate '{gate.name}' fails for {what}: {parity}; needed cosine >= {gate.min_cosine}{limit}"
        )


_Prepare = Callable[[tuple[NDArray[np.generic], ...]], tuple[NDArray[np.generic], ...]]


def _in_batches(run: Tower, trial: Trial, size: int, prepare: _Prepare) -> NDArray[np.float32]:
    """All rows in batches of `size`; the last batch takes rows from before it, so that it is full too."""
    vectors = np.empty_like(trial.expected)
    for start in range(0, len(trial), size):
        first = min(start, len(trial) - size)
        rows = slice(first, first + size)
        vectors[rows] = run(*prepare(tuple(part[rows] for part in trial.inputs)))
    return vectors


def _as_is(inputs: tuple[NDArray[np.generic], ...]) -> tuple[NDArray[np.generic], ...]:
    return inputs


def _trimmed(inputs: tuple[NDArray[np.generic], ...]) -> tuple[NDArray[np.generic], ...]:
    """Ids cut after the longest row's end-of-text, as the encoder sends them."""
    ids, eot = inputs
    return ids[:, : int(eot.max()) + 1], eot
