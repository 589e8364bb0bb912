"""Generated sections of a document, between markers, so that each measurement writes its own and no other's."""

from __future__ import annotations

from pathlib import Path

from bench.errors import BenchError


def replace(document: Path, name: str, text: str) -> None:
    """Put `text` between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``. Raises BenchError without the markers."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    try:
        content = document.read_text()
    except OSError as error:
        raise BenchError(f"cannot read {document} ({error.strerror})") from None
    head, opened, rest = content.partition(begin)
    _, closed, tail = rest.partition(end)
    if not opened or not closed:
        raise BenchError(f"{document} has no {begin} ... {end}")
    document.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
