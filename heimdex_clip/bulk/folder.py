"""The output folder: whose run it is, which parts of it are there, and one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from heimdex_clip.bulk import parts
from heimdex_clip.bulk.rows import format_of
from heimdex_clip.errors import SettingsError

_RUN = "run.json"
_LOCK = ".lock"
_EDGE_BYTES = 1 << 20


def identity(path: Path) -> dict[str, object]:
    """What tells an input from another: its format, its size, the sha256 of its first and last MiB; and its path.

    Raises SettingsError when it cannot be read.
    """
    kind = format_of(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            first = hashlib.sha256(file.read(_EDGE_BYTES)).hexdigest()
            file.seek(max(size - _EDGE_BYTES, 0))
            last = hashlib.sha256(file.read(_EDGE_BYTES)).hexdigest()
    except OSError as error:
        raise SettingsError(f"cannot read {str(path)!a}: {error.strerror}") from None
    return {
        "path": str(path.resolve()),
        "format": kind,
        "bytes": size,
        "sha256_first_mib": first,
        "sha256_last_mib": last,
    }


class Folder:
    """OUT, held for this process until closed.

    Raises SettingsError when another process has it, when it belongs to another run, or cannot be written.
    """

    def __init__(self, path: Path, source: Mapping[str, object], *, part_rows: int) -> None:
        self.path = path
        self.part_rows = part_rows
        self._lock: IO[bytes] | None = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / _LOCK).open("wb")
            self._open(source)
        except OSError as error:
            self.close()
            raise SettingsError(f"cannot use {str(path)!a}: {error.strerror}") from None
        except SettingsError:
            self.close()
            raise

    def close(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            self._lock.close()

    def found(self) -> dict[int, parts.Summary]:
        """The whole parts that are there, by number. One that cannot be read counts as missing: it is made again.

        Only the last may be short. Whether it is short enough shows at the input's end.
        """
        numbers = sorted(
            int(match[1])
            for entry in self.path.iterdir()
            if (match := re.fullmatch(r"part-(\d+)\.parquet", entry.name))
        )
        there: dict[int, parts.Summary] = {}
        for number in numbers:
            summary = parts.read_summary(self.path / parts.name(number))
            if summary is not None and (summary.rows == self.part_rows or number == numbers[-1]):
                there[number] = summary
        return there

    def _open(self, source: Mapping[str, object]) -> None:
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"{str(self.path)!a} is in use by another process") from None
        # A kill between two steps leaves these; nobody else writes here while the lock is held.
        for leftover in self.path.glob("*.tmp"):
            leftover.unlink()
        wanted = {"version": 1, "input": dict(source), "part_rows": self.part_rows}
        run = self.path / _RUN
        if run.exists():
            self._compare(run, wanted)
            return
        if next(self.path.glob("part-*.parquet"), None) is not None:
            raise SettingsError(f"{str(self.path)!a} holds parts but no {_RUN}; choose another folder")
        with parts.appearing(run) as file:
            file.write(json.dumps(wanted, indent=2).encode() + b"\n")

    def _compare(self, run: Path, wanted: Mapping[str, object]) -> None:
        try:
            there = json.loads(run.read_bytes())
            began, resumed = dict(there["input"]), dict(wanted["input"])  # type: ignore[call-overload]
            part_rows, version = there["part_rows"], there["version"]
        except (ValueError, KeyError, TypeError):
            raise SettingsError(f"{str(run)!a} is not of a bulk run; choose another folder") from None
        if version != wanted["version"]:
            raise SettingsError(f"{str(run)!a} is of another version of this command; choose another folder")
        # A file that was only moved is the same input.
        moved_from = began.pop("path", "")
        resumed.pop("path")
        if began != resumed:
            raise SettingsError(
                f"{str(self.path)!a} was begun with another input ({moved_from!a}); choose another folder"
            )
        if part_rows != wanted["part_rows"]:
            raise SettingsError(f"{str(self.path)!a} was begun with --part-rows {part_rows}; resume with the same")
