"""The bench's own failure."""

from __future__ import annotations

from heimdex_clip.errors import ClipError


class BenchError(ClipError):
    """A measurement could not be made: a part did not start, or a worker answered wrongly."""

    code = "BENCH"
