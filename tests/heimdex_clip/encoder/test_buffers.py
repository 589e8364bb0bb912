from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from heimdex_clip.encoder.buffers import Buffers


def test_memory_is_lent_again_for_what_fits_into_it() -> None:
    buffers = Buffers(1000)
    with buffers.borrow((10, 20, 3)) as first:
        assert first.shape == (10, 20, 3)
        assert first.flags.c_contiguous
        first[:] = 7
    assert buffers.idle_bytes == 600
    with buffers.borrow((5, 5, 1)) as second:
        assert second.shape == (5, 5, 1)
        assert second.min() == 7
        assert buffers.idle_bytes == 0
    with buffers.borrow((601,)) as third:
        assert third.shape == (601,)
        assert buffers.idle_bytes == 600


def test_the_smallest_that_is_large_enough_is_lent() -> None:
    buffers = Buffers(1000)
    with buffers.borrow((500,)), buffers.borrow((100,)):
        pass
    with buffers.borrow((60,)):
        assert buffers.idle_bytes == 500


def test_two_borrowers_never_share() -> None:
    buffers = Buffers(1000)
    with buffers.borrow((100,)):
        pass
    with buffers.borrow((100,)) as one, buffers.borrow((100,)) as other:
        one[:], other[:] = 1, 2
        assert one.max() == 1


def test_no_more_than_the_limit_is_kept() -> None:
    buffers = Buffers(1000)
    with buffers.borrow((700,)), buffers.borrow((400,)):
        pass
    assert buffers.idle_bytes == 700
    with buffers.borrow((1001,)):
        pass
    assert buffers.idle_bytes == 700


def test_memory_comes_back_after_an_error() -> None:
    buffers = Buffers(1000)
    with pytest.raises(ZeroDivisionError), buffers.borrow((100,)):
        raise ZeroDivisionError
    assert buffers.idle_bytes == 100


def test_threads_may_share_one() -> None:
    buffers = Buffers(4000)

    def fill(value: int) -> bool:
        with buffers.borrow((1000,)) as own:
            own[:] = value
            return bool((own == value).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fill, [n % 256 for n in range(2000)]))
    assert buffers.idle_bytes <= 4000


def test_memory_that_cannot_be_had_is_a_memory_error() -> None:
    with pytest.raises(MemoryError), Buffers(0).borrow((1 << 50,)):
        pass
