"""The one table of parity gates: how near each build must stay to PyTorch fp32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Gate:
    """The worst that is accepted over every vector compared.

    `min_cosine`: lowest cosine similarity. `max_abs`: highest absolute difference of unnormalised
    components, None where only the direction counts (fp16).
    """

    name: str
    min_cosine: float
    max_abs: float | None = None

    def holds(self, parity: Parity) -> bool:
        """Whether the measured parity passes; a NaN never does."""
        near = self.max_abs is None or parity.max_abs <= self.max_abs
        return near and parity.min_cosine >= self.min_cosine


@dataclass(frozen=True, slots=True)
class Parity:
    """What was measured between two sets of vectors. `vectors` is how many pairs."""

    min_cosine: float
    max_abs: float
    vectors: int

    def __str__(self) -> str:
        return f"cosine >= {self.min_cosine:.8f}, max abs {self.max_abs:.2e} over {self.vectors} vectors"


def parse_parity(raw: Mapping[str, Any]) -> Parity:
    """As a manifest has it. Raises KeyError, or TypeError for anything but numbers."""
    values = (raw["min_cosine"], raw["max_abs"], raw["vectors"])
    if [type(value) in (int, float) for value in values[:2]] != [True, True] or type(values[2]) is not int:
        raise TypeError("a parity must be two numbers and a count")
    return Parity(float(values[0]), float(values[1]), values[2])


EXPORT_FP32 = Gate("export fp32", min_cosine=0.999999, max_abs=2e-5)
"""fp32 graphs and the demo."""
EXPORT_FP16 = Gate("export fp16", min_cosine=0.9999)
"""fp16 graphs on any lane, engines, tests/gpu."""
EXPORT = {"fp32": EXPORT_FP32, "fp16": EXPORT_FP16}
"""The two by precision."""
BATCH = Gate("single equals batched", min_cosine=1 - 1e-6)
"""The same input alone and inside a batch."""
SELF_TEST = Gate("self-test", min_cosine=0.999)
"""The serving lane at start: one golden image, and one text before the first text job."""
DRIFT = Gate("drift", min_cosine=0.999)
"""Every golden vector of two model folders, to call them compatible."""


def measure(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> Parity:
    """Compare row by row: both float32 ``[N, D]``, N >= 1. NaN in, NaN out (which no gate passes)."""
    import numpy as np

    a, e = actual.astype(np.float64), expected.astype(np.float64)
    if a.shape != e.shape or a.ndim != 2 or not len(a):
        raise ValueError(f"shapes differ or are empty: {a.shape} and {e.shape}")
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (a * e).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(e, axis=1))
    return Parity(float(cosine.min()), float(np.abs(a - e).max()), len(a))
