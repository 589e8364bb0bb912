from __future__ import annotations

import numpy as np
import pytest

from heimdex_clip.encoder.runtimes.device_buffers import DeviceBuffers, pad_length, text_lengths
from tests.heimdex_clip.encoder.runtimes.gpu_double import HostCuda


def test_arrays_of_any_layout_arrive_whole() -> None:
    buffers = DeviceBuffers(HostCuda().driver())
    sent = np.arange(12, dtype=np.float32).reshape(3, 4)
    for array in (sent, np.asfortranarray(sent), sent[::-1]):
        buffers.send("x", array)
        np.testing.assert_array_equal(buffers.fetch("x", (3, 4)), array)
    assert buffers.sent_bytes == 3 * sent.nbytes


def test_a_buffer_grows_and_is_then_kept() -> None:
    library = HostCuda()
    buffers = DeviceBuffers(library.driver())
    small = buffers.room("x", 8)
    assert buffers.room("x", 4) == small
    large = buffers.room("x", 64)
    assert buffers.room("x", 8) == large
    assert len(library.memory) == 2  # one on each side


def test_what_was_fetched_is_not_overwritten_by_the_next_batch() -> None:
    buffers = DeviceBuffers(HostCuda().driver())
    buffers.send("x", np.ones((1, 2), np.float32))
    first = buffers.fetch("x", (1, 2))
    buffers.send("x", np.zeros((1, 2), np.float32))
    np.testing.assert_array_equal(first, [[1, 1]])


def test_token_ids_are_padded_to_a_few_lengths() -> None:
    eot = np.zeros(2, np.int64)
    padded, same = pad_length((np.ones((2, 9), np.int64), eot), (8, 16, 77))
    assert padded.shape == (2, 16)
    assert padded[:, 9:].sum() == 0
    assert same is eot
    assert pad_length((np.ones((2, 16), np.int64), eot), (8, 16))[0].shape == (2, 16)
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    assert pad_length((pixels,), (8,))[0] is pixels


@pytest.mark.parametrize(("context", "lengths"), [(77, (8, 16, 32, 77)), (32, (8, 16, 32)), (5, (5,))])
def test_the_last_length_is_the_context(context: int, lengths: tuple[int, ...]) -> None:
    assert text_lengths(context) == lengths
