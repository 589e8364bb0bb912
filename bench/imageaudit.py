"""`python -m bench image-audit`: what the images install, under which licences, and what is known against it.

Writes for each lane ``build/audit/<lane>.cdx.json`` (CycloneDX, from the lock) and ``build/audit/<lane>-licences.md``
(from the installed packages' metadata), then looks the locks up in a vulnerability database.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from bench import imagereplay
from bench.errors import BenchError
from bench.imagereplay import ROOT

OUT = ROOT / "build" / "audit"
SERVICES = ("pypi", "osv")
"""Databases by pip-audit's names, asked in this order until one knows every package."""
_TOOLS = Path(sys.executable).parent
_TIMEOUT_S = 300
_ANSWER_TIMEOUT_S = 10
_NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class Findings:
    """A database's answer: how many packages it knows, what it holds against which, what it does not know."""

    checked: int
    vulnerabilities: tuple[str, ...]
    unknown: tuple[str, ...]


async def run(lanes: Sequence[str], *, python: Path | None = None) -> int:
    """Write the lists, then the verdict; 0 when nothing is known against any package. Raises BenchError."""
    python = python or imagereplay.base_python()
    OUT.mkdir(parents=True, exist_ok=True)
    for lane in lanes:
        site = OUT / f"site-{lane}"
        await imagereplay.install(lane, site, python=python)
        bill = OUT / f"{lane}.cdx.json"
        await _tool(["cyclonedx-py", "requirements", "--output-reproducible", "-o", str(bill), lock(lane)])
        licences = OUT / f"{lane}-licences.md"
        licences.write_text(licence_table(list(distributions(path=[str(site)]))))
        await asyncio.to_thread(shutil.rmtree, site)
        print(f"{lane}: {bill.relative_to(ROOT)}, {licences.relative_to(ROOT)}", flush=True)
    found = await look_up([lock(lane) for lane in lanes])
    for line in found.vulnerabilities:
        print(line)
    held = "FAILED" if found.vulnerabilities else "PASSED"
    print(f"{found.checked} packages checked, {len(found.vulnerabilities)} known vulnerabilities: {held}")
    return 1 if found.vulnerabilities else 0


def lock(lane: str) -> str:
    """A lane's lock, relative to the root."""
    return f"requirements/image-{lane}.txt"


def licence_table(packages: Sequence[Distribution]) -> str:
    """A Markdown table of package, version and licence as its metadata states it."""
    rows = sorted((package.name.lower(), package.version, licence(package)) for package in packages)
    lines = [f"| {name} | {version} | {stated} |" for name, version, stated in rows]
    return "\n".join(["| package | version | licence |", "| --- | --- | --- |", *lines]) + "\n"


def licence(package: Distribution) -> str:
    """The licence expression, else the short form of the older fields, else "not stated"."""
    classifiers = [name.rpartition(" :: ")[2] for name in _field(package, "Classifier") if "License ::" in name]
    # Some put the whole text into License; its classifier is the name then.
    short = [text for text in _field(package, "License") if "\n" not in text and text != "UNKNOWN"]
    stated = _field(package, "License-Expression") or short or classifiers or [_NOT_STATED]
    return ", ".join(stated).replace("|", "/")


def _field(package: Distribution, name: str) -> list[str]:
    return [text for text in package.metadata.get_all(name) or () if text]


async def look_up(locks: Sequence[str], services: Sequence[str] = SERVICES) -> Findings:
    """Ask the databases about every package of the locks. Raises BenchError unless one of them knows them all."""
    reasons = []
    for service in services:
        argv = ["pip-audit", "--format", "json", "--progress-spinner", "off", "--timeout", str(_ANSWER_TIMEOUT_S)]
        argv += ["--disable-pip", "--no-deps", "--require-hashes", "--vulnerability-service", service]
        try:
            # It ends with 1 also when it found something.
            found = read(await _tool([*argv, *(part for one in locks for part in ("-r", one))], accept=(0, 1)))
        except BenchError as error:
            reasons.append(f"{service}: {error}")
            continue
        if not found.unknown:
            return found
        reasons.append(f"{service}: knows nothing of {len(found.unknown)} packages, {found.unknown[0]} among them")
    raise BenchError(f"not audited, no database answers ({'; '.join(reasons)})")


def read(output: str) -> Findings:
    """pip-audit's JSON. Raises BenchError for anything else, which it writes when it cannot reach its database."""
    try:
        rows: list[dict[str, Any]] = json.loads(output)["dependencies"]
        unknown = tuple(row["name"] for row in rows if "skip_reason" in row)
        vulnerabilities = tuple(
            f"{row['name']} {row['version']}: {one['id']}, fixed in {', '.join(one['fix_versions']) or 'no release'}"
            for row in rows
            for one in row.get("vulns", ())
        )
    except (ValueError, KeyError, TypeError):
        raise BenchError("it cannot be reached") from None
    return Findings(len(rows) - len(unknown), vulnerabilities, unknown)


async def _tool(argv: list[str], *, accept: tuple[int, ...] = (0,)) -> str:
    try:
        done = await asyncio.to_thread(
            subprocess.run,
            [str(_TOOLS / argv[0]), *argv[1:]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{argv[0]}: {type(error).__name__}") from None
    if done.returncode not in accept:
        raise BenchError(f"{argv[0]} ended with {done.returncode}: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout
