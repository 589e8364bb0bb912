"""Every variant of this machine gives Pillow's bytes: a small part of what ``make equality`` goes through."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from export import corpus
from tests.parity import resample_cases
from tests.parity.resample_cases import Case, Geometry

if not resample_cases.compiled():
    pytest.skip("the extension is not built (no compiler): there is only Pillow", allow_module_level=True)

_SMALL_AREA = 60_000


@pytest.mark.parametrize("block", range(6))
def test_generated_pictures(block: int) -> None:
    numbers = range(block * 800, (block + 1) * 800)
    cases = (resample_cases.case(2, number, usual_area=_SMALL_AREA) for number in numbers)
    assert [
        (number, wrong)
        for number, case in zip(numbers, cases, strict=True)
        if (wrong := resample_cases.differing(case))
    ] == []


@given(
    source=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    resized=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    data=st.data(),
)
@settings(max_examples=150)
def test_any_square_of_any_resize(source: tuple[int, int], resized: tuple[int, int], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, min(resized)))
    corner = (data.draw(st.integers(0, resized[0] - size)), data.draw(st.integers(0, resized[1] - size)))
    channels, seed = data.draw(st.sampled_from((1, 3, 4))), data.draw(st.integers(0, 2**32 - 1))
    pixels = np.random.default_rng(seed).integers(0, 256, (source[1], source[0], channels), np.uint8)
    case = Case("noise", pixels[..., 0].copy() if channels == 1 else pixels, Geometry(source, resized, corner, size))
    assert resample_cases.differing(case) == []


# What a resizer is likely to get wrong: one pixel, sides around the lanes, sides that stay, the ends of both axes.
SIDES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 223, 224, 225, 448, 449)


@pytest.mark.parametrize("width", SIDES)
def test_sides_around_the_lanes(width: int) -> None:
    random = np.random.default_rng(width)
    for height in SIDES:
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        assert (
            resample_cases.differing(Case("noise", pixels, resample_cases.contract((width, height), size=16))) == []
        ), height


@pytest.mark.parametrize(("height", "y_first"), [(749, False), (750, False), (751, True)])
def test_the_pass_order_turns_where_pillows_does(height: int, y_first: bool) -> None:
    """375 -> 224 is 151 narrower: y comes first when the height loses more than 302."""
    pixels = np.random.default_rng(height).integers(0, 256, (height, 375, 3), np.uint8)
    case = Case("noise", pixels, Geometry((375, height), (224, 448), (0, 112), 224))
    image, bicubic = Image.fromarray(pixels), Image.Resampling.BICUBIC
    one_then_other = image.resize((375, 448) if y_first else (224, height), bicubic).resize((224, 448), bicubic)
    assert resample_cases.differing(case) == []
    np.testing.assert_array_equal(resample_cases.reference(case), np.asarray(one_then_other.crop((0, 112, 224, 336))))


@pytest.mark.parametrize("photograph", corpus.photographs(), ids=lambda case: case.name)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_photographs(photograph: corpus.Case, mode: str) -> None:
    with Image.open(io.BytesIO(photograph.data)) as image:
        case = Case("photograph", np.asarray(image.convert(mode)), resample_cases.contract(image.size))
    assert resample_cases.differing(case) == []
