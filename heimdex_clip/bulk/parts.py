"""One part of the output: a fixed range of rows, filled in any order, written whole or not at all.

Columns: `id` string; `vector` fixed_size_list<float32>[dim], `model` string and `model_digest` string, null where
the row failed; `error` (the code) and `message` string, null where it did not.
"""

from __future__ import annotations

import json
import os
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from heimdex_clip.contract import Embedding
from heimdex_clip.errors import ClipError

_SUMMARY = b"heimdex_clip.bulk"
_DEFAULT_DIM = 512  # ViT-B/32's, for parts in which no row ever had a vector


@dataclass(frozen=True, slots=True)
class Model:
    """What all vectors of a run have in common."""

    name: str
    digest: str
    dim: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a part's footer says of it. `errors` counts its failed rows by code."""

    rows: int
    errors: Mapping[str, int]
    model: Model | None


@dataclass(slots=True)
class Part:
    """Rows [first, first + n) on their way to a file; n is known once `complete` is set.

    Memory: `part_rows` vectors of float32, from the first one on.
    """

    number: int
    part_rows: int
    ids: list[str] = field(default_factory=list)
    complete: bool = False
    left: int = 0
    """Rows that were read and have no outcome yet."""
    _vectors: bytearray = field(default_factory=bytearray)
    _failed: dict[int, ClipError] = field(default_factory=dict)

    def add(self, row_id: str) -> None:
        """The next row, in the input's order."""
        self.ids.append(row_id)
        self.left += 1

    def succeed(self, number: int, embedding: Embedding) -> None:
        """Row `number` (the input's) has its vector."""
        if not self._vectors:
            self._vectors = bytearray(4 * embedding.dim * self.part_rows)
        offset = 4 * embedding.dim * (number % self.part_rows)
        struct.pack_into(f"={embedding.dim}f", self._vectors, offset, *embedding.vector)
        self.left -= 1

    def fail(self, number: int, error: ClipError) -> None:
        """Row `number` (the input's) will have none."""
        self._failed[number % self.part_rows] = error
        self.left -= 1

    def write(self, folder: Path, model: Model | None) -> Summary:
        """Put the part in place: on the disk before it has its name. Raises OSError."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows, dim = len(self.ids), _DEFAULT_DIM if model is None else model.dim
        failed = self._failed
        errors = Counter(error.code for error in failed.values())
        values = memoryview(self._vectors or bytearray(4 * dim * rows))[: 4 * dim * rows]
        vectors = pa.FixedSizeListArray.from_arrays(
            pa.Array.from_buffers(pa.float32(), dim * rows, [None, pa.py_buffer(values)]),
            dim,
            mask=pa.array([index in failed for index in range(rows)]),
        )
        good = [None if model is None or index in failed else model for index in range(rows)]
        columns = {
            "id": pa.array(self.ids, pa.string()),
            "vector": vectors,
            "model": pa.array([each and each.name for each in good], pa.string()),
            "model_digest": pa.array([each and each.digest for each in good], pa.string()),
            "error": pa.array([failed[n].code if n in failed else None for n in range(rows)], pa.string()),
            "message": pa.array([_text(failed[n]) if n in failed else None for n in range(rows)], pa.string()),
        }
        seen = None if model is None or len(failed) == rows else [model.name, model.digest, model.dim]
        footer = json.dumps({"errors": errors, "model": seen}).encode()
        table = pa.table(columns).replace_schema_metadata({_SUMMARY: footer})
        with appearing(folder / name(self.number)) as file:
            # Floats do not compress, nor do they repeat.
            strings = [column for column in columns if column != "vector"]
            compression = {**dict.fromkeys(strings, "ZSTD"), "vector.list.element": "NONE"}
            pq.write_table(table, file, compression=compression, use_dictionary=strings[1:])
        return Summary(rows, errors, None if seen is None else model)


def name(number: int) -> str:
    """A part's file name."""
    return f"part-{number:06d}.parquet"


def read_summary(path: Path) -> Summary | None:
    """From the footer alone; None when the file is not a whole part."""
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    try:
        metadata = pq.read_metadata(path)
        footer = json.loads(metadata.metadata[_SUMMARY])
        model = footer["model"]
        return Summary(metadata.num_rows, dict(footer["errors"]), None if model is None else Model(*model))
    except (ArrowException, OSError, KeyError, TypeError, ValueError):
        return None


@contextmanager
def appearing(path: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only once all of it is on the disk. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name itself
    finally:
        os.close(folder)


def _text(error: ClipError) -> str:
    return error.message.encode(errors="backslashreplace").decode()
