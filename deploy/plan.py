"""`python -m deploy plan`: what each setting would cost and how long requests would wait."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from deploy import config, demand, figures, recommend
from deploy.demand import Demand
from deploy.errors import DeployError
from deploy.figures import Figures
from deploy.recommend import Advice
from deploy.simulation import Outcome, simulate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    rate = parser.add_mutually_exclusive_group(required=True)
    rate.add_argument("--rate", type=float, metavar="PER_HOUR", help="a constant rate of requests")
    rate.add_argument("--curve", type=Path, metavar="FILE.csv", help="24 rows: requests in each hour of the day")
    rate.add_argument("--timestamps", type=Path, metavar="FILE.csv", help="a row a request: Unix seconds or ISO 8601")
    parser.add_argument("--figures", type=Path, default=figures.PATH, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--gpu", metavar="POOL", help="price of this pool (default: the first in endpoint.toml)")
    parser.add_argument("--max", type=int, metavar="WORKERS", help="most workers (default: as in endpoint.toml)")
    parser.add_argument("--config", type=Path, default=config.PATH, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="write FILE-light and FILE-dark, SVG or PNG")
    parser.add_argument("--requests", type=int, default=3000, help="about how many to simulate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Print the table and the advice; 0. Raises DeployError."""
    wanted, read = config.load(arguments.config), figures.load(arguments.figures)
    if not 1 <= arguments.requests <= 1_000_000:
        raise DeployError("--requests must be 1 to 1,000,000")
    workers_max = wanted.workers_max if arguments.max is None else arguments.max
    if not 1 <= workers_max <= 100:
        raise DeployError("--max must be 1 to 100")
    pool = arguments.gpu or wanted.pools[0]
    if pool not in read.usd_per_hour:
        raise DeployError(f"{arguments.figures} has no price for {pool}; it has {', '.join(read.usd_per_hour)}")
    asked = _demand(arguments, read)
    outcomes = [
        simulate(asked, setting, read, usd_per_hour=read.usd_per_hour[pool])
        for setting in recommend.settings(workers_max, wanted.scaler, wanted.scaler_value)
    ]
    advice = recommend.advise(outcomes, read, asked.per_hour)
    heading = f"{asked.per_hour:.1f} requests an hour on {pool} at ${read.usd_per_hour[pool]:.2f} an hour"
    print(f"{heading}\nfigures: {read.measured}\n")
    print(table(outcomes, advice))
    print(f"\nTake {advice.why}\n{advice.rule}")
    if arguments.plot:
        from deploy import planplot  # matplotlib takes a second to import

        for path in planplot.write(arguments.plot, outcomes, advice.best, heading):
            print(f"wrote {path}")
    return 0


def table(outcomes: Sequence[Outcome], advice: Advice) -> str:
    """A row for each setting that differs; the recommended one is marked."""
    rows = ["  min max idle_s    $/month  $/1000  p50_s  p95_s  p99_s   cold"]
    shown: set[tuple[int, float, float]] = set()
    for outcome in outcomes:
        # An idle timeout that nothing ever reached makes the same row again.
        row = (outcome.setting.workers_min, outcome.worker_h, sum(outcome.waits_s))
        if row in shown and outcome is not advice.best:
            continue
        shown.add(row)
        setting, mark = outcome.setting, "*" if outcome is advice.best else " "
        waits = " ".join(f"{outcome.wait_s(percent):6.2f}" for percent in (50, 95, 99))
        left = f"  {outcome.unserved} left waiting at the end" if outcome.unserved else ""
        rows.append(
            f"{mark} {setting.workers_min:3} {setting.workers_max:3} {setting.idle_timeout_s:6g}"
            f" {outcome.usd_per_month:10.2f} {outcome.usd_per_1000:7.2f} {waits} {outcome.cold_share:6.1%}{left}"
        )
    return "\n".join(rows)


def _demand(arguments: argparse.Namespace, read: Figures) -> Demand:
    if arguments.timestamps:
        return demand.read_timestamps(arguments.timestamps)
    # Long enough that what was so at the beginning does not decide.
    least_s = 4 * (recommend.LONGEST_IDLE_S + read.cold_start_s)
    if arguments.curve:
        curve = demand.read_curve(arguments.curve)
        return demand.daily(curve, requests=arguments.requests, least_s=least_s, seed=arguments.seed)
    return demand.constant(arguments.rate, requests=arguments.requests, least_s=least_s, seed=arguments.seed)
