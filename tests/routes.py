"""The routes of preprocessing that this machine can take, for tests that must hold on each."""

from __future__ import annotations

from heimdex_clip.encoder import jpeg, resample
from heimdex_clip.encoder.routes import PILLOW, Route


def routes() -> list[Route]:
    """Pillow alone; every variant of the resampler, and the best one with JPEGs by rows too, where they are here."""
    compiled = [variant for variant in resample.variants() if variant != resample.PILLOW]
    found = [PILLOW, *(Route(variant) for variant in compiled)]
    if not jpeg.lacking():
        found.append(Route(compiled[0], rows=True))
    return found


def name(route: Route) -> str:
    """For a test's id."""
    return f"{route.variant}{', JPEGs by rows' if route.rows else ''}"
