"""`python -m bench document`: docs/performance.md and its plots, written anew from bench/results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import plots, report, section, tables
from bench.environments import ROOT
from bench.markdown import Results

DOCUMENT = ROOT / "docs" / "performance.md"
_UNFINISHED = "unfinished"
_NOTHING = "Not measured yet."
_PICTURES = {
    "peers": "Images a second at 64 clients and the p50 of one image, of this project and its peers, as ratios",
    "scaling": "Throughput and p99 by number of clients, and the share of each stage by image size",
}


def load(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Every file of samples by its name, less rough ones and those of runs that did not finish."""
    results = {}
    for path in sorted((folder or report.RESULTS).glob("*.json")):
        if path.stem.endswith(report.target("", quick=True)):
            continue
        result = json.loads(path.read_text())
        if result["verdict"] == _UNFINISHED:
            print(f"{path} is of a run that did not finish: left out")
            continue
        results[path.stem] = result
    return results


def sections(results: Results) -> dict[str, str]:
    """What stands between each pair of markers; that there is nothing, where there are no samples."""
    found = {}
    for name, (needed, say) in tables.SECTIONS.items():
        found[name] = _NOTHING
        if all(one in results for one in needed):
            text = say(results)
            found[name] = f"{text}\n\n{plots.markdown(name, _PICTURES[name])}" if name in _PICTURES else text
    return found


def write(document: Path = DOCUMENT) -> list[Path]:
    """Write every section, and the plots whose samples exist; returns the files. Raises BenchError."""
    results = load()
    for name, text in sections(results).items():
        section.replace(document, name, text)
    return [document, *plots.write(results, document.parent / plots.FOLDER.name)]
