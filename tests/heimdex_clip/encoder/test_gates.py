from __future__ import annotations

import math

import numpy as np
import pytest

from heimdex_clip.encoder.gates import DRIFT, EXPORT_FP16, EXPORT_FP32, SELF_TEST, Gate, Parity, measure


def vectors(*rows: list[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(rows, np.float32)


def test_measure_takes_the_worst_row_of_each_figure() -> None:
    expected = vectors([1, 0], [0, 2])
    parity = measure(vectors([1, 1], [0, 5]), expected)
    assert parity.min_cosine == pytest.approx(math.sqrt(0.5))
    assert parity.max_abs == 3
    assert parity.vectors == 2


def test_measure_of_equal_vectors_passes_every_gate() -> None:
    same = np.random.default_rng(0).normal(size=(5, 512)).astype(np.float32)
    parity = measure(same, same)
    assert all(gate.holds(parity) for gate in (EXPORT_FP32, EXPORT_FP16, SELF_TEST, DRIFT))


@pytest.mark.parametrize("bad", [[0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_no_gate_passes_a_vector_without_direction(bad: list[float]) -> None:
    parity = measure(vectors(bad), vectors([1, 0]))
    assert not any(gate.holds(parity) for gate in (EXPORT_FP32, EXPORT_FP16, SELF_TEST, DRIFT))


@pytest.mark.parametrize(
    ("cosine", "max_abs", "holds"),
    [(0.99, 0.1, True), (0.98, 0.1, False), (0.99, 0.2, False), (math.nan, 0.0, False), (1.0, math.nan, False)],
)
def test_a_gate_needs_both_figures(cosine: float, max_abs: float, holds: bool) -> None:
    assert Gate("both", min_cosine=0.99, max_abs=0.1).holds(Parity(cosine, max_abs, 1)) is holds


def test_a_gate_without_max_abs_looks_at_direction_alone() -> None:
    assert EXPORT_FP16.holds(measure(vectors([3, 0]), vectors([1, 0])))
    assert not EXPORT_FP32.holds(measure(vectors([3, 0]), vectors([1, 0])))


@pytest.mark.parametrize(
    ("actual", "expected"),
    [(vectors([1, 0]), vectors([1, 0], [0, 1])), (np.zeros((0, 2), np.float32),) * 2, (np.ones(2, np.float32),) * 2],
    ids=["different rows", "no rows", "no matrix"],
)
def test_measure_refuses_what_it_cannot_compare(
    actual: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    expected: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> None:
    with pytest.raises(ValueError, match="shapes differ or are empty"):
        measure(actual, expected)
