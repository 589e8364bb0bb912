"""What an image's layers hold, by package and file: sizes from the folders that the build steps made."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

MB = 1_000_000
BYTECODE = "bytecode of the modules that a start imports"
_SMALL_BYTES = 2 * MB


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an image's account: `bytes` on disk, uncompressed. `estimated` where nothing could be measured."""

    layer: str
    name: str
    bytes: int
    estimated: bool = False


def libraries(site: Path) -> list[Row]:
    """The installed packages by the files that each one lists, bytecode apart, largest first.

    Every file under `site` is counted once; one that no package lists goes to "files of no package".
    """
    owners = _owners(site)
    sizes: dict[str, int] = {}
    for path in site.rglob("*"):
        if path.is_file() and not path.is_symlink():
            name = BYTECODE if path.suffix == ".pyc" else owners.get(path, "files of no package")
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    rows = [Row("libraries", name, size) for name, size in sizes.items()]
    return sorted(rows, key=lambda row: -row.bytes)


def files(layer: str, folder: Path) -> list[Row]:
    """Every file of a folder, largest first."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    rows = [Row(layer, path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths]
    return sorted(rows, key=lambda row: -row.bytes)


def whole(layer: str, name: str, folder: Path) -> Row:
    """A folder as one row."""
    return Row(layer, name, sum(row.bytes for row in files(layer, folder)))


def total_bytes(rows: Iterable[Row]) -> int:
    """The sum of all rows."""
    return sum(row.bytes for row in rows)


def table(rows: Sequence[Row]) -> str:
    """A Markdown table in MB (10^6 bytes), layer by layer with subtotals; rows under 2 MB are summed up."""
    lines = ["| layer | what | MB |", "| --- | --- | ---: |"]
    for layer in dict.fromkeys(row.layer for row in rows):
        own = [row for row in rows if row.layer == layer]
        large = [row for row in own if row.bytes >= _SMALL_BYTES]
        small = [row for row in own if row.bytes < _SMALL_BYTES]
        lines += [
            f"| {layer} | {row.name}{' (estimated)' if row.estimated else ''} | {_mb(row.bytes)} |" for row in large
        ]
        if small:
            lines.append(f"| {layer} | {len(small)} others under 2 MB | {_mb(total_bytes(small))} |")
        lines.append(f"| **{layer}** | **all** | **{_mb(total_bytes(own))}** |")
    lines.append(f"| **image** | **all, without the base** | **{_mb(total_bytes(rows))}** |")
    return "\n".join(lines)


def _mb(size: int) -> str:
    return f"{size / MB:.1f}"


def _owners(site: Path) -> dict[Path, str]:
    """File -> its package, by every package's RECORD."""
    owners = {}
    for record in site.glob("*.dist-info/RECORD"):
        package = record.parent.name.removesuffix(".dist-info").replace("-", " ", 1)
        with record.open(newline="") as lines:
            for name, *_ in csv.reader(lines):
                owners[site / name] = package
    return owners
