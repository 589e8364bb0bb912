from __future__ import annotations

import subprocess
import sys

import pytest

from heimdex_clip.encoder import jpeg, resample
from heimdex_clip.encoder.routes import PILLOW, fastest

_TOLD = "from heimdex_clip.encoder.routes import fastest; r = fastest(); print(r.variant, r.turbo, *r.lacking, sep=',')"
SIMPLEJPEG, EXTENSION = "simplejpeg", "heimdex_clip.encoder._resample"


def fastest_without(*modules: str) -> str:
    """What a fresh interpreter chooses in which these modules cannot be imported."""
    missing = "import sys; " + "".join(f"sys.modules[{module!r}] = None; " for module in modules)
    return subprocess.run(
        [sys.executable, "-c", missing + _TOLD], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_fastest_route_is_what_is_installed() -> None:
    route = fastest()
    assert route is fastest()
    assert route.variant == resample.variant()
    assert bool(route.lacking) == (resample.variant() == resample.PILLOW or not jpeg.turbo_version())


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ((EXTENSION,), "pillow,False,the resampling extension is not built"),
        ((EXTENSION, SIMPLEJPEG), "pillow,False,the resampling extension is not built,simplejpeg is not installed"),
        ((SIMPLEJPEG,), f"{resample.variant()},False,simplejpeg is not installed"),
    ],
    ids=["no extension", "neither", "no simplejpeg"],
)
def test_what_is_missing_is_told(missing: tuple[str, ...], told: str) -> None:
    if resample.variant() == resample.PILLOW and EXTENSION not in missing:
        told = told.replace("False,", "False,the resampling extension is not built,")
    assert fastest_without(*missing) == told


def test_pillow_alone_names_pillow_twice() -> None:
    assert PILLOW.decoder == PILLOW.resampler
    assert PILLOW.decoder.startswith("Pillow ")
