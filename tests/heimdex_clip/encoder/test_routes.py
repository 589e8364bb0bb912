from __future__ import annotations

import subprocess
import sys

import pytest

from heimdex_clip.encoder import jpeg, resample
from heimdex_clip.encoder.routes import PILLOW, fastest

_TOLD = "from heimdex_clip.encoder.routes import fastest; r = fastest(); print(r.variant, r.rows, *r.lacking, sep=',')"
EXTENSION = "heimdex_clip.encoder._resample"


def fastest_after(preparation: str) -> str:
    """What a fresh interpreter chooses after these statements."""
    return subprocess.run(
        [sys.executable, "-c", f"{preparation}\n{_TOLD}"], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_fastest_route_is_what_is_installed() -> None:
    route = fastest()
    assert route is fastest()
    assert route.variant == resample.variant()
    assert bool(route.lacking) == (not route.rows) == bool(jpeg.lacking())


def test_a_missing_extension_is_told() -> None:
    told = fastest_after(f"import sys; sys.modules[{EXTENSION!r}] = None")
    assert told == "pillow,False,the resampling extension is not built"


@pytest.mark.skipif(resample.variant() == resample.PILLOW, reason="the extension is not built")
def test_a_pillow_whose_libjpeg_is_not_a_library_of_its_own_is_told() -> None:
    """Here another module in its place, which is linked to none."""
    told = fastest_after("import _ctypes, PIL._imaging; PIL._imaging.__file__ = _ctypes.__file__")
    reason = "Pillow's libjpeg cannot be called (jpeg_std_error is not within reach)"
    assert told == f"{resample.variant()},False,{reason}"


def test_pillow_alone_names_pillow_twice() -> None:
    assert PILLOW.decoder == PILLOW.resampler
    assert PILLOW.decoder.startswith("Pillow ")
