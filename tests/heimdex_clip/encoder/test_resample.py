"""The resampler's edges: what it takes and refuses, with the extension and without it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heimdex_clip.encoder.resample import PILLOW, resize_crop, variant, variants
from tests.parity import resample_cases

ROOT = Path(__file__).parents[3]
RESIZED, CORNER, SIZE = (398, 224), (87, 0), 224
needs_extension = pytest.mark.skipif(
    not resample_cases.compiled(), reason="the extension is not built (no compiler): there is only Pillow"
)


def picture(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_pillow_is_always_there_and_last() -> None:
    assert variants()[-1] == PILLOW
    assert variant() == variants()[0]


@pytest.mark.parametrize("name", variants())
@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((36, 64), (SIZE, SIZE)),
        ((36, 64, 1), (SIZE, SIZE)),
        ((36, 64, 3), (SIZE, SIZE, 3)),
        ((36, 64, 4), (SIZE, SIZE, 3)),
    ],
)
def test_a_square_of_every_depth_equals_pillows(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    pixels = picture(*shape)
    square = resize_crop(pixels, RESIZED, CORNER, SIZE, variant=name)
    assert square.shape == wanted
    assert square.dtype == np.dtype(np.uint8)
    np.testing.assert_array_equal(square, resize_crop(pixels, RESIZED, CORNER, SIZE, variant=PILLOW))


@pytest.mark.parametrize("name", variants())
def test_the_source_is_left_as_it_was_and_may_be_read_only(name: str) -> None:
    pixels = picture(300, 500, 3)
    before = pixels.copy()
    pixels.flags.writeable = False
    resize_crop(pixels, (373, 224), (74, 0), SIZE, variant=name)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("name", variants())
@pytest.mark.parametrize(
    "pixels",
    [
        picture(36),
        picture(36, 64, 2),
        picture(36, 64, 5),
        picture(2, 36, 64, 3),
        picture(0, 64, 3),
        picture(36, 0, 3),
        picture(36, 64, 0),
        picture(36, 128, 3)[:, ::2],
        picture(36, 64, 3)[::-1],
        picture(3, 36, 64).transpose(1, 2, 0),
        picture(36, 64, 3).astype(np.int8),
        picture(36, 64, 3).astype(np.float32),
        np.array(7, np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype} {pixels.shape} {pixels.strides}",
)
def test_other_arrays_are_refused(name: str, pixels: Any) -> None:
    with pytest.raises(ValueError, match="uint8, C-contiguous"):
        resize_crop(pixels, RESIZED, CORNER, SIZE, variant=name)


@pytest.mark.parametrize("name", variants())
@pytest.mark.parametrize(
    ("resized", "corner", "size"),
    [
        ((398, 224), (-1, 0), 224),
        ((398, 224), (0, -1), 224),
        ((398, 224), (175, 0), 224),
        ((398, 224), (0, 1), 224),
        ((398, 223), (0, 0), 224),
        ((0, 224), (0, 0), 224),
        ((398, 224), (0, 0), 0),
        ((398, 224), (0, 0), -5),
        ((-398, -224), (0, 0), -300),
        ((398, 224), (-(2**70), 0), 224),
    ],
)
def test_a_square_outside_the_resized_picture_is_refused(
    name: str, resized: tuple[int, int], corner: tuple[int, int], size: int
) -> None:
    with pytest.raises(ValueError, match="inside the resized picture"):
        resize_crop(picture(36, 64, 3), resized, corner, size, variant=name)


@pytest.mark.parametrize("name", resample_cases.compiled())
@pytest.mark.parametrize(
    ("pixels", "resized"),
    [
        (np.zeros((1, 2**24 + 1), np.uint8), (8, 8)),
        (np.zeros((2, 2), np.uint8), (2**31, 8)),
        (np.zeros((2, 2), np.uint8), (8, 2**70)),
    ],
)
def test_sides_beyond_the_arithmetic_are_refused(name: str, pixels: Any, resized: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"2\^24|2\^31|64 bits"):
        resize_crop(pixels, resized, (0, 0), 8, variant=name)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ValueError, match="no variant 'sse9'"):
        resize_crop(picture(36, 64, 3), RESIZED, CORNER, SIZE, variant="sse9")


@needs_extension
def test_hostile_calls_at_the_extensions_own_entry_end_in_an_error_or_pixels() -> None:
    from tests.parity import resample_hostile

    endings = resample_hostile.calls(seed=0, count=5000)
    either = {"pixels", "ValueError", "UnicodeEncodeError", "TypeError"}
    assert set(endings) == either | {f"JPEG: {ending}" for ending in (*either, "refused")}
    assert sum(endings.values()) == 6000


@needs_extension
def test_too_little_memory_is_a_memory_error() -> None:
    """2**24 columns to one need 800 MB of coefficients."""
    done = python(
        "import resource, numpy as np\n"
        "from heimdex_clip.encoder.resample import resize_crop\n"
        "pixels = np.zeros((1, 2**24), np.uint8)\n"
        "held = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (held + 2**28, held + 2**28))\n"
        "try:\n    resize_crop(pixels, (1, 1), (0, 0), 1)\n"
        "except MemoryError:\n    print('MemoryError')\n"
    )
    assert (done.stdout, done.stderr) == ("MemoryError\n", "")


@needs_extension
def test_other_threads_run_meanwhile() -> None:
    """Nobody is asked to give up the GIL here, so only who releases it lets another thread in."""
    before, pixels = sys.getswitchinterval(), np.zeros((3000, 4000, 3), np.uint8)
    sys.setswitchinterval(1000)
    try:
        assert any(_ran_during_a_resize(pixels) for _ in range(20))
    finally:
        sys.setswitchinterval(before)


def _ran_during_a_resize(pixels: Any) -> bool:
    started, ended = threading.Event(), threading.Event()

    def resize() -> None:
        started.set()
        resize_crop(pixels, (298, 224), (37, 0), SIZE, variant="c")
        ended.set()

    thread = threading.Thread(target=resize)
    thread.start()
    started.wait()
    meanwhile = not ended.is_set()
    thread.join()
    return meanwhile


def test_without_the_extension_pillow_does_the_same() -> None:
    program = (
        "import sys, hashlib, numpy as np\n"
        "{block}"
        "from heimdex_clip.encoder.resample import resize_crop, variant, variants\n"
        "pixels = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)\n"
        "print(hashlib.sha256(resize_crop(pixels, (373, 224), (74, 0), 224).tobytes()).hexdigest(), variants())\n"
        "try:\n    resize_crop(pixels, (373, 224), (74, 0), 224, variant='c')\n"
        "except ValueError as error:\n    print(error)\n"
    )
    own, pillow = (
        python(program.format(block=block)) for block in ("", "sys.modules['heimdex_clip.encoder._resample'] = None\n")
    )
    digest, names = pillow.stdout.splitlines()[0].split(" ", 1)
    assert names == "('pillow',)"
    assert pillow.stdout.splitlines()[1] == "the extension is not built: no variant 'c'"
    assert own.stdout.split(" ", 1)[0] == digest
