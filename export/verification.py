"""One verification from beginning to end: which files, lanes and inputs, and the report of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from export import corpus
from export.checks import Expected, check_files, golden_against, golden_groups, lane_rows, reference_groups
from export.corpus import Case
from export.progress import Progress
from export.report import LaneNote, Report, Row
from heimdex_clip.encoder import golden, manifest
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.runtimes import LANES
from heimdex_clip.encoder.runtimes.base import Lane
from heimdex_clip.errors import LaneUnavailable, SettingsError


@dataclass(frozen=True, slots=True)
class Request:
    """What to verify: `lanes` by name (empty: all that can run); with `reference` PyTorch runs too.

    `checkpoint` holds the reference's weights where they are not published, `cache` the downloads.
    """

    folder: Path
    cache: Path
    lanes: tuple[str, ...] = ()
    reference: bool = False
    checkpoint: Path | None = None


Cases = Callable[[], dict[str, list[Case]]]


def verify(request: Request, progress: Progress, *, cases: Cases = corpus.groups) -> Report:
    """Check everything that was asked for. What does not hold is in the report.

    `cases` gives the pictures, by group, that the reference and every lane embed.

    Raises ModelError for a folder that cannot be read or whose reference cannot be had, SettingsError and
    LaneUnavailable for lanes named in vain.
    """
    model = manifest.load(request.folder)
    lanes, notes = _lanes(request.lanes, model)
    with progress.step(f"hashing {len(model.files)} files"):
        files = check_files(request.folder, model)
    rows: list[Row] = []
    # Altered files are not run: what they answer would say nothing about this model.
    if not any(file.problem for file in files):
        groups, rows = _inputs(request, model, progress, cases)
        for lane in lanes:
            with progress.step(f"lane {lane.name}"):
                rows += lane_rows(request.folder, model, lane, groups)
    return Report(
        folder=request.folder,
        model=model,
        manifest_sha256=hashlib.sha256((request.folder / manifest.FILE_NAME).read_bytes()).hexdigest(),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        reference=request.reference,
        files=files,
        lanes=notes,
        rows=tuple(rows),
    )


def _inputs(request: Request, model: Manifest, progress: Progress, cases: Cases) -> tuple[list[Expected], list[Row]]:
    """The groups that every lane runs, and the rows that need no lane."""
    groups = golden_groups(request.folder)
    if not request.reference:
        return groups, []
    with progress.step("loading PyTorch and open_clip"):
        from export import reference
    with progress.step("the reference's weights"):
        fresh = reference.load(model, checkpoint=request.checkpoint, cache=request.cache, progress=progress)
    pictures = cases()
    with progress.step(f"PyTorch on {sum(map(len, pictures.values()))} pictures and {len(corpus.TEXTS)} texts"):
        rows = list(golden_against(fresh, golden.load(request.folder)))
        return [*groups, *reference_groups(fresh, pictures, corpus.TEXTS)], rows


def _lanes(names: Sequence[str], model: Manifest) -> tuple[list[Lane], tuple[LaneNote, ...]]:
    """The lanes to run, and a note on each that was asked for."""
    known = [lane.name for lane in LANES]
    for name in names:
        if name not in known:
            raise SettingsError(f"--lane {name}: must be one of {', '.join(known)}")
    lanes, notes = [], []
    for lane in LANES:
        if names and lane.name not in names:
            continue
        reason = lane.unavailable(model)
        if reason is None:
            lanes.append(lane)
        elif names:
            raise LaneUnavailable(f"--lane {lane.name}: {reason}")
        notes.append(LaneNote(lane.name, lane.precision, {} if reason else lane.describe(), reason or ""))
    return lanes, tuple(notes)
