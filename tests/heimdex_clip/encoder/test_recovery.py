from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from heimdex_clip.encoder.recovery import DeviceLost, OutOfDeviceMemory, from_code, from_message, halving
from heimdex_clip.errors import InferenceFailed


@pytest.mark.parametrize(
    ("code", "kind"),
    [(2, OutOfDeviceMemory), (700, DeviceLost), (719, DeviceLost), (214, DeviceLost), (1, InferenceFailed)],
)
def test_a_code_tells_what_became_of_the_device(code: int, kind: type[InferenceFailed]) -> None:
    assert type(from_code(code, "cuStreamSynchronize")) is kind


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=x", DeviceLost),
        ("CUDA failure 719: unspecified launch failure ; GPU=0", DeviceLost),
        ("CUDA error cudaErrorIllegalAddress:an illegal memory access was encountered", DeviceLost),
        ("CUDA failure 100: no CUDA-capable device is detected", DeviceLost),
        ("CUBLAS failure 14 ; uncorrectable ECC error", DeviceLost),
        ("CUDA failure 2: out of memory ; GPU=0", OutOfDeviceMemory),
        ("Failed to allocate memory for requested buffer of size 1234", OutOfDeviceMemory),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", OutOfDeviceMemory),
        ("Got invalid dimensions for input: pixels", InferenceFailed),
        ("CUDA failure 1: invalid argument", InferenceFailed),
    ],
)
def test_a_runtimes_words_tell_the_same(message: str, kind: type[InferenceFailed]) -> None:
    found = from_message(message, "RuntimeException")
    assert type(found) is kind
    assert "RuntimeException" in str(found)
    assert "hostname" not in str(found)


def test_all_of_them_are_answered_as_a_failed_inference_that_may_be_tried_again() -> None:
    for code in (1, 2, 700):
        found = from_code(code, "x")
        assert (found.code, found.retryable) == ("INFERENCE_FAILED", True)


class Narrow:
    """Runs at most `room` rows; notes every size it was asked for."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        self.sizes.append(len(inputs[0]))
        if len(inputs[0]) > self.room:
            raise OutOfDeviceMemory("full")
        return np.stack([inputs[0], inputs[1]], axis=1).astype(np.float32)


@pytest.mark.parametrize(("rows", "room", "sizes"), [(4, 4, [4]), (4, 2, [4, 2, 2]), (5, 3, [5, 3, 2])])
def test_a_batch_that_does_not_fit_is_run_in_halves(rows: int, room: int, sizes: list[int]) -> None:
    run = Narrow(room)
    first, second = np.arange(rows), np.arange(rows) * 10
    np.testing.assert_array_equal(halving(run, first, second), np.stack([first, second], axis=1))
    assert run.sizes == sizes


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1]), (8, [8, 4])])
def test_half_a_batch_that_does_not_fit_either_ends_the_process(rows: int, sizes: list[int]) -> None:
    run = Narrow(0)
    with pytest.raises(DeviceLost, match="out of memory"):
        halving(run, np.arange(rows), np.arange(rows))
    assert run.sizes == sizes


def test_other_failures_are_left_alone() -> None:
    def fails(*_: NDArray[np.generic]) -> NDArray[np.float32]:
        raise InferenceFailed("something else")

    with pytest.raises(InferenceFailed, match="something else"):
        halving(fails, np.arange(4))
