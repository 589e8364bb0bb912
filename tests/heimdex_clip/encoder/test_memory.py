"""What `hold` is asked for is what decoding takes: a worker's memory limit is no better than that."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from PIL import Image

from tests.routes import name, routes

SIDES = (3000, 2000)
SLACK_BYTES = 6 << 20  # the libraries' own buffers, and whole pages
NOISE_BYTES = 1 << 19  # the kernel counts pages in batches, so two decodings of one file differ
_CHILD = """
import re, sys
from contextlib import contextmanager
from tests.routes import routes
from heimdex_clip.encoder.preprocess import preprocess

def resident(field):
    return int(re.search(field + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10

held = 0
@contextmanager
def hold(n_bytes):
    global held
    held = max(held, n_bytes)
    yield

route = routes()[int(sys.argv[1])]
small, data = (open(path, "rb").read() for path in sys.argv[2:])
preprocess(small, size=224, max_pixels=10**8, hold=hold, route=route)
open("/proc/self/clear_refs", "w").write("5")  # the peak starts again from here
before = resident("VmRSS")
preprocess(data, size=224, max_pixels=10**8, hold=hold, route=route)
print(held, resident("VmHWM") - before)
"""


def photograph(sides: tuple[int, int]) -> Image.Image:
    return Image.linear_gradient("L").resize(sides).convert("RGB")


FORMS: dict[str, tuple[str, dict[str, object]]] = {
    "JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True}),
    "PNG": ("PNG", {"compress_level": 1}),
}
ROUTES = list(enumerate(routes()))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", [ROUTES[0][0], ROUTES[-1][0]], ids=lambda number: name(routes()[number]))
def test_decoding_takes_what_was_held(number: int, form: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    kind, options = FORMS[form]
    for stem, sides in (("small", (30, 20)), ("large", SIDES)):
        file = io.BytesIO()
        photograph(sides).save(file, kind, **options)
        (folder / stem).write_bytes(file.getvalue())
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(number), str(folder / "small"), str(folder / "large")],
        capture_output=True,
        text=True,
        check=True,
    )
    held, taken = map(int, done.stdout.split())
    assert held * 0.5 - NOISE_BYTES < taken < held + SLACK_BYTES
