"""Every peer's vectors against open_clip's own: 200 varied images and 100 texts, cosine and largest difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import pictures, report
from bench.errors import BenchError
from bench.field import FLOOR, INFINITY_HTTP, OWN, REFERENCE, Field
from bench.library import LibraryEntrant
from bench.peers_run import reason
from bench.ratios import Verdict
from bench.servers import HttpEntrant, data_uri

_QUICK_STEP = 5
_THE_SAME_AS_ANOTHER = (INFINITY_HTTP, FLOOR)
"""Other doors of what is compared anyway."""
Vectors = list[NDArray[np.float64] | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One entrant on images or texts: a cosine and a largest difference of unit vectors each, None where refused."""

    entrant: str
    what: str
    cosine: list[float | None]
    max_abs: list[float | None]
    errors: dict[str, str]


@dataclass(frozen=True, slots=True)
class Parity:
    """All rows, the names of images and texts, and on how many images the preprocessed bytes are equal."""

    rows: list[Row]
    names: list[str]
    texts: list[str]
    equal_bytes: int


async def run(found: Field, folder: Path, *, quick: bool) -> Parity | None:
    """Ask everybody, and save; `folder` takes the images as files. None when the reference itself fails."""
    step = _QUICK_STEP if quick else 1
    images, texts = pictures.images()[::step], pictures.texts()[::step]
    paths = write(images, folder)
    entrants = [
        one
        for one in found.entrants
        if isinstance(one, LibraryEntrant | HttpEntrant) and one.name not in _THE_SAME_AS_ANOTHER
    ]
    entrants.sort(key=lambda one: one.name != REFERENCE)
    expected: dict[str, Vectors] = {}
    digests: dict[str, list[object]] = {}
    rows: list[Row] = []
    for entrant in entrants:
        if entrant.name != REFERENCE and not expected:
            break
        try:
            await entrant.start()
            answers = await _answers(entrant, paths, [data for _, data in images], texts)
            if isinstance(entrant, LibraryEntrant) and entrant.name in (OWN, REFERENCE):
                digests[entrant.name] = (await entrant.ask("pixels", [str(path) for path in paths]))["values"]
        # As in the contest: a fault of one is a result, and the others go on.
        except Exception as error:  # noqa: BLE001
            found.failures[f"{entrant.name}, parity"] = reason(error)
            print(f"  {entrant.name} is out: {reason(error)}", flush=True)
            continue
        finally:
            await entrant.stop()
        if entrant.name == REFERENCE:
            expected = {what: vectors for what, (vectors, _) in answers.items()}
            continue
        for what, (vectors, errors) in answers.items():
            rows.append(compare(entrant.name, what, vectors, expected[what], errors))
            print(f"  parity of {line(rows[-1])}", flush=True)
    if not expected:
        return None
    equal = [one is not None and one == two for one, two in zip(digests.get(OWN, []), digests[REFERENCE], strict=False)]
    parity = Parity(rows, [name for name, _ in images], texts, sum(equal))
    save(parity, Verdict("unfinished", passed=False), quick=quick)
    return parity


def write(images: Sequence[tuple[str, bytes]], folder: Path) -> list[Path]:
    """The images as numbered files, for drivers in other processes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}" for number in range(len(images))]
    for path, (_, data) in zip(paths, images, strict=True):
        path.write_bytes(data)
    return paths


async def _answers(
    entrant: LibraryEntrant | HttpEntrant, paths: Sequence[Path], images: Sequence[bytes], texts: Sequence[str]
) -> dict[str, tuple[Vectors, dict[str, str]]]:
    if isinstance(entrant, HttpEntrant):
        return {"images": await _posted(entrant, images)}
    by_what = {"images": [str(path) for path in paths], "texts": list(texts)}
    answers = {}
    for what, of in by_what.items():
        answer = await entrant.ask(what, of)
        errors = answer["errors"]
        if len(errors) == len(of):
            continue  # it has no such thing
        answers[what] = [None if value is None else np.array(value) for value in answer["values"]], errors
    return answers


async def _posted(entrant: HttpEntrant, images: Sequence[bytes]) -> tuple[Vectors, dict[str, str]]:
    vectors: Vectors = []
    errors: dict[str, str] = {}
    for number, data in enumerate(images):
        try:
            vectors.append(np.array((await entrant.embed([data_uri(data)]))[0]))
        except BenchError as error:
            vectors.append(None)
            errors[str(number)] = error.message
    return vectors, errors


def compare(entrant: str, what: str, vectors: Vectors, expected: Vectors, errors: dict[str, str]) -> Row:
    """Unit vectors in float64, so that a peer which normalises and one which does not are held alike."""
    cosine: list[float | None] = []
    max_abs: list[float | None] = []
    for vector, wanted in zip(vectors, expected, strict=True):
        if vector is None or wanted is None:
            cosine.append(None)
            max_abs.append(None)
            continue
        one, two = vector / np.linalg.norm(vector), wanted / np.linalg.norm(wanted)
        cosine.append(float(one @ two))
        max_abs.append(float(np.abs(one - two).max()))
    return Row(entrant, what, cosine, max_abs, errors)


def line(row: Row) -> str:
    """A row in words."""
    held = [value for value in row.cosine if value is not None]
    apart = [value for value in row.max_abs if value is not None]
    refused = f", {len(row.cosine) - len(held)} refused" if len(held) < len(row.cosine) else ""
    return (
        f"{row.entrant}, {row.what}: lowest cosine {min(held):.9f}, largest difference {max(apart):.1e},"
        f" {sum(value < 0.999999 for value in held)} of {len(held)} below 0.999999{refused}"
    )


def nearer(own: Row, peer: Row) -> list[int]:
    """On which inputs the peer's largest difference is smaller than this project's."""
    pairs = enumerate(zip(own.max_abs, peer.max_abs, strict=True))
    return [index for index, (mine, theirs) in pairs if mine is not None and theirs is not None and theirs < mine]


def save(parity: Parity, verdict: Verdict, *, quick: bool) -> None:
    """``bench/results/parity.json``."""
    name = report.target("parity", quick=quick)
    settings = {"images": parity.names, "texts": len(parity.texts), "equal_bytes": parity.equal_bytes}
    report.save(name, settings=settings, samples=[asdict(row) for row in parity.rows], verdict=verdict)
