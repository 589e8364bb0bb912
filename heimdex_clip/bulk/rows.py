"""The input: rows of CSV, JSON lines or Parquet, streamed in order, numbered from 0."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from heimdex_clip.contract import MAX_URL_CHARS
from heimdex_clip.errors import SettingsError

FORMATS = ("csv", "jsonl", "parquet")
_MAX_LINE_BYTES = 1 << 20
_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One image to embed. `problem`, when not empty, says why it cannot even be asked for."""

    number: int
    id: str
    url: str
    problem: str = ""


Parse = Callable[[int], Row]
"""Reads a record that the input has reached, given its number: what is skipped is never parsed."""


def format_of(path: Path) -> str:
    """By the file's suffix. Raises SettingsError for another than `FORMATS`."""
    found = path.suffix.lower().removeprefix(".")
    if found not in FORMATS:
        raise SettingsError(f"{path.name!a} must end in .csv, .jsonl or .parquet")
    return found


class Input:
    """One pass over the file at `path`. Holds a line or a Parquet batch at a time; close it.

    Raises SettingsError for a file that cannot be read, or has no column `url`.
    """

    def __init__(self, path: Path) -> None:
        kind = format_of(path)
        try:
            self._file = path.open("rb")
            self._size = max(path.stat().st_size, 1)
        except OSError as error:
            raise SettingsError(f"cannot read {str(path)!a}: {error.strerror}") from None
        self._name = path.name
        self._fraction: Callable[[], float] = lambda: self._file.tell() / self._size
        self.number = 0
        """Of the next record."""
        make = {"csv": self._csv, "jsonl": self._jsonl, "parquet": self._parquet}[kind]
        self._records = make()
        self._peeked: list[Parse | None] = []

    @property
    def fraction(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return self._fraction()

    def check(self) -> None:
        """Read as far as the first record. Raises SettingsError when there is no column `url`, say."""
        self._peeked.append(self._read())

    def next(self) -> Parse | None:
        """The next record, None at the end. Raises SettingsError when it cannot be read, naming its place."""
        record = self._peeked.pop() if self._peeked else self._read()
        self.number += record is not None
        return record

    def _read(self) -> Parse | None:
        try:
            return next(self._records, None)
        except (csv.Error, OSError, ValueError, NotImplementedError) as error:
            raise SettingsError(f"{self._name!a} cannot be read after {self.number} rows: {_line(error)}") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _csv(self) -> Iterator[Parse]:
        rows = csv.reader(_lines(self._file))
        header = [name.strip().lower() for name in next(rows, [])]
        url_at = self._column(header)
        id_at = header.index("id") if "id" in header else len(header)
        for fields in rows:
            if fields:  # an empty line is no row
                yield _parse_with(lambda fields: (_at(fields, id_at), _at(fields, url_at)), fields)

    def _jsonl(self) -> Iterator[Parse]:
        for line in _lines(self._file):
            if not line.isspace():
                yield _parse_with(_json_row, line)

    def _parquet(self) -> Iterator[Parse]:
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self._file)
        total = max(file.metadata.num_rows, 1)
        self._fraction = lambda: self.number / total
        header = file.schema_arrow.names
        self._column(header)
        columns = [name for name in ("id", "url") if name in header]
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
            for record in batch.to_pylist():
                yield _parse_with(lambda record: (record.get("id"), record["url"]), record)

    def _column(self, header: list[str]) -> int:
        if "url" not in header:
            raise SettingsError(f"{self._name!a} has no column url")
        return header.index("url")


def _parse_with(read: Callable[[Any], tuple[object, object]], record: object) -> Parse:
    return lambda number: _row(number, *read(record))


def _row(number: int, row_id: object, url: object) -> Row:
    """A row without an id gets its number as one."""
    known = str(number) if row_id in (None, "") else str(row_id).encode(errors="backslashreplace").decode()
    if not isinstance(url, str) or not url.strip():
        return Row(number, known, "", "the row has no url")
    if len(url) > MAX_URL_CHARS:
        return Row(number, known, "", f"the url has {len(url)} characters; at most {MAX_URL_CHARS} are accepted")
    if not url.isprintable():  # which half of a surrogate pair isn't either
        return Row(number, known, "", "the url holds a character that no URL may")
    return Row(number, known, url.strip())


def _json_row(line: str) -> tuple[object, object]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None, None
    return (fields.get("id"), fields.get("url")) if isinstance(fields, dict) else (None, None)


def _at(fields: list[str], index: int) -> str | None:
    return fields[index] if index < len(fields) else None


def _lines(file: IO[bytes]) -> Iterator[str]:
    # Not the file's own text layer: it cannot tell its place while it is iterated over.
    first = True
    while line := file.readline(_MAX_LINE_BYTES):
        if len(line) == _MAX_LINE_BYTES:
            raise ValueError(f"a line has more than {_MAX_LINE_BYTES} bytes")
        yield line.decode("utf-8-sig" if first else "utf-8", errors="backslashreplace")
        first = False


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
