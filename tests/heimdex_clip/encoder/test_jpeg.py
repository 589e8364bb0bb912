"""Which JPEGs are decoded by rows, and that their pixels and verdicts are Pillow's."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image

from heimdex_clip.encoder.jpeg import Frame, read_frame
from tests import jpegfiles
from tests.jpegfiles import JFIF, Spec, adobe
from tests.parity import jpeg_cases

COLOUR = Spec(50, 37, ((2, 2), (1, 1), (1, 1)))
GREY = Spec(50, 37, ((1, 1),))
SOUND = jpegfiles.write(COLOUR)


def saved(mode: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((50, 37), 60).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def with_segment(marker: int, body: bytes = b"") -> bytes:
    return SOUND[:2] + bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body + SOUND[2:]


def test_a_frame_is_the_pictures_size_and_channels() -> None:
    assert read_frame(SOUND) == Frame(50, 37, 3, working_bytes=0)
    assert read_frame(jpegfiles.write(GREY)) == Frame(50, 37, 1, working_bytes=0)
    assert read_frame(jpegfiles.write(replace(COLOUR, extended=True))) == Frame(50, 37, 3, working_bytes=0)


@pytest.mark.parametrize("change", [{"progressive": True}, {"interleaved": False}], ids=["progressive", "a scan each"])
def test_a_picture_in_several_scans_needs_all_its_coefficients(change: dict[str, bool]) -> None:
    """4 x 3 units of 16 x 16 pixels, 6 blocks each, of 64 coefficients of two bytes."""
    frame = read_frame(jpegfiles.write(replace(COLOUR, **change)))  # type: ignore[arg-type]  # flags alone
    assert frame == Frame(50, 37, 3, working_bytes=4 * 3 * 6 * 64 * 2)


@pytest.mark.parametrize(
    "spec",
    [
        replace(COLOUR, ids=b"RGB", segments=()),
        replace(COLOUR, segments=((0xEE, adobe(0)),)),
        replace(COLOUR, sampling=((1, 1),) * 4, segments=((0xEE, adobe(2)),)),
        replace(COLOUR, sampling=((1, 1),) * 4),
        replace(COLOUR, sampling=((1, 1),) * 2),
        replace(COLOUR, precision=12, extended=True),
        replace(COLOUR, height=0),
        replace(COLOUR, segments=((0xE0, JFIF), (0xC0, b"\x08\x00\x25\x00\x32\x01\x01\x11\x00"))),
        replace(COLOUR, segments=((0xFE, b""),) * 2000),
        replace(COLOUR, sampling=((5, 1), (1, 1), (1, 1))),
    ],
    ids=[
        "RGB by its ids",
        "RGB by Adobe's mark",
        "YCCK",
        "CMYK",
        "two components",
        "12 bits",
        "height to come later",
        "two frames",
        "a header of 2,000 comments",
        "sampling beyond the standard",
    ],
)
def test_kinds_that_are_left_to_pillow(spec: Spec) -> None:
    data = jpegfiles.write(spec)
    assert jpeg_cases.squares(data) is None
    assert jpeg_cases.disagreement(data) == ""


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_codings_that_are_left_to_pillow(frame: int) -> None:
    """Lossless, differential and arithmetic ones."""
    assert read_frame(SOUND.replace(b"\xff\xc0", bytes((0xFF, frame)), 1)) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        SOUND[1:],
        SOUND[:60],
        SOUND[: SOUND.index(b"\xff\xda") + 4],
        SOUND[:2] + b"\0" + SOUND[2:],
        SOUND[:2] + b"\xff" + SOUND[2:],
        SOUND[:2] + b"\xff\xd8" + SOUND[2:],
        SOUND[:2] + b"\xff\xfe\x00\x01" + SOUND[2:],
        with_segment(0xCC),
        with_segment(0xDC, b"\0\x25"),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
    ids=[
        "nothing",
        "a start alone",
        "no start",
        "cut in a table",
        "cut in the scan's header",
        "a byte between segments",
        "a fill byte",
        "two starts",
        "a length below 2",
        "arithmetic conditioning",
        "a number of lines",
        "another format",
    ],
)
def test_headers_that_are_left_to_pillow(data: bytes) -> None:
    assert read_frame(data) is None


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"progressive": True},
        {"interleaved": False},
        {"restart": 2},
        {"progressive": True, "restart": 3},
        {"segments": ()},
    ],
    ids=["baseline", "progressive", "a scan each", "restarts", "progressive with restarts", "no JFIF"],
)
@pytest.mark.parametrize(
    "sampling", ["11 11 11", "21 11 11", "12 11 11", "22 11 11", "41 11 11", "22 21 21", "22 12 12", "22 21 12", "11"]
)
def test_pixels_are_pillows(sampling: str, change: dict[str, object]) -> None:
    factors = tuple((int(pair[0]), int(pair[1])) for pair in sampling.split())
    data = jpegfiles.write(replace(COLOUR, sampling=factors, seed=len(sampling), **change))  # type: ignore[arg-type]
    assert jpeg_cases.verdict(data) == "decoded by rows"
    assert jpeg_cases.disagreement(data) == ""


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"quality": 100}])
def test_pixels_of_an_ordinary_encoder_are_pillows(subsampling: int, options: dict[str, object]) -> None:
    data = saved("RGB", subsampling=subsampling, **options)
    assert jpeg_cases.verdict(data) == "decoded by rows"
    assert jpeg_cases.disagreement(data) == ""


@pytest.mark.parametrize(
    ("data", "pillow_takes_it"),
    [
        (SOUND[:-2], True),
        (SOUND[: len(SOUND) * 2 // 3], False),
        (SOUND + b"and more", True),
        (SOUND[:-2] + b"junk" + SOUND[-2:], True),
        (SOUND[:-100] + b"\xff\xd9", True),
    ],
    ids=["no end", "cut", "more after the end", "junk before the end", "ended early"],
)
def test_what_is_amiss_is_pillows_to_judge(data: bytes, pillow_takes_it: bool) -> None:
    assert jpeg_cases.verdict(data) in (
        ("decoded by rows", "left to Pillow, which takes it")
        if pillow_takes_it
        else ("left to Pillow, which refuses it",)
    )
    assert jpeg_cases.disagreement(data) == ""


def test_generated_files_sound_and_spoilt_get_one_verdict() -> None:
    """`python -m tests.parity.equality_jpeg` runs many more of the same."""
    cases = [jpeg_cases.case(1, index) for index in range(1200)]
    assert [case for case in cases if jpeg_cases.disagreement(case.data)] == []
    spoilt = [jpeg_cases.verdict(case.data) for case in cases if case.spoilt]
    # Without all three the run would prove little.
    assert min(spoilt.count(verdict) for verdict in set(spoilt)) > 50
    assert len(set(spoilt)) == 3


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
def test_fill_bytes_in_a_scan_leave_the_file_to_pillow(progressive: bool) -> None:
    data = jpegfiles.write(replace(COLOUR, progressive=progressive))
    assert jpeg_cases.squares(data) is not None
    stuffed = data.rindex(b"\xff\x00")
    assert jpeg_cases.squares(data[:stuffed] + b"\xff" + data[stuffed:]) is None


def test_what_stands_after_the_end_of_one_scan_does_not_matter() -> None:
    assert jpeg_cases.squares(SOUND + b"\xff\xff") is not None


def test_pixels_do_not_depend_on_where_pillows_pieces_end() -> None:
    """A large file with 0xFF 0xFF 0x00 in its scan, of which Pillow's 64 KiB at a time make other pixels."""
    case = jpeg_cases.case(7, 8402)
    assert b"\xff\xff\0" in case.data
    assert jpeg_cases.disagreement(case.data) == ""
