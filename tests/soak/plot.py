"""A soak as lines for a terminal, and as a picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from tests.soak.soak import Soak

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
_ROWS = (("rss_mib", "memory, MiB"), ("files", "open files"), ("threads", "threads"), ("ms", "median latency, ms"))


def report(found: Soak, title: str) -> str:
    """The counts, and one line of bars for each thing that was watched."""
    seconds = found.samples[-1].at_s
    lines = [
        f"{title}: {found.jobs:,} jobs in {seconds:,.0f} s ({found.jobs / seconds:,.0f}/s), {found.lost} lost,"
        f" {found.wrong.total()} ended otherwise than they should; memory {found.rss_slope_mib():+.2f} MiB per 10,000"
        " jobs in the second half"
    ]
    for name, label in _ROWS:
        values = _thinned([float(getattr(sample, name)) for sample in found.samples])
        low, high = min(values), max(values)
        scale = (high - low) or 1.0
        bars = "".join(_BARS[round((value - low) / scale * (len(_BARS) - 1))] for value in values)
        lines.append(f"  {label:20} {low:8.1f} {bars} {high:.1f}")
    lines.append("  " + ", ".join(f"{name} {count:,}" for name, count in sorted(found.kinds.items())))
    return "\n".join(lines)


def save(found: Soak, path: Path, title: str) -> None:
    """The same as a PNG."""
    figure = Figure(figsize=(9, 9), layout="constrained")
    axes = figure.subplots(len(_ROWS), 1, sharex=True)
    for axis, (name, label) in zip(axes, _ROWS, strict=True):
        axis.plot([sample.jobs for sample in found.samples], [getattr(sample, name) for sample in found.samples])
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_title(title)
    axes[-1].set_xlabel("jobs")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _thinned(values: list[float]) -> list[float]:
    step = -(-len(values) // _WIDTH)
    return [max(values[at : at + step]) for at in range(0, len(values), step)]
