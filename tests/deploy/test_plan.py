"""`python -m deploy plan`: the rule of thumb, the forms of demand, the table and the pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import config, demand, figures, recommend
from deploy.__main__ import main
from deploy.errors import DeployError
from deploy.simulation import simulate

OLD_GUIDE = figures.PATH.with_name("figures-old-guide.toml")


def advice(per_hour: float, path: Path = OLD_GUIDE) -> recommend.Advice:
    read = figures.load(path)
    asked = demand.constant(per_hour, requests=1500, least_s=1200, seed=2)
    tried = recommend.settings(3, "QUEUE_DELAY", 4)
    return recommend.advise([simulate(asked, one, read, usd_per_hour=0.69) for one in tried], read, per_hour)


@pytest.mark.parametrize(("per_hour", "workers_min"), [(1, 0), (5, 0), (8, 0), (13, 1), (50, 1), (95, 1)])
def test_the_rule_of_thumb_holds_for_the_system_it_was_made_for(per_hour: float, workers_min: int) -> None:
    given = advice(per_hour)
    assert given.best.setting.workers_min == workers_min
    assert given.best.setting.idle_timeout_s == 5
    assert given.rule.endswith("the same.")


def test_above_a_hundred_it_says_why_not_two() -> None:
    given = advice(200)
    assert given.best.setting.workers_min == 1
    assert "min 2 to 3" in given.rule
    assert "only if one worker may never be missing" in given.rule


def test_a_shorter_start_moves_the_border_up() -> None:
    assert advice(15, figures.PATH).best.setting.workers_min == 0
    assert advice(60, figures.PATH).best.setting.workers_min == 1


def test_what_cannot_keep_up_is_not_advised() -> None:
    # 2.5 requests a second, a second each: two workers cannot.
    assert advice(9000).best.setting.workers_min == 3


def test_the_table_marks_what_it_advises(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--rate", "5", "--requests", "300"], {}) == 0
    out = capsys.readouterr().out
    assert figures.load().measured in out
    (marked,) = (line for line in out.splitlines() if line.startswith("*"))
    assert marked.split()[1:4] == ["0", "3", "5"]
    assert "Take min 0, max 3, idle 5 s" in out
    assert f"{config.load().pools[0]} at $0.69" in out


def test_a_daily_curve(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text("hour,requests\n" + "".join(f"{hour},{100 if hour == 12 else 0}\n" for hour in range(24)))
    asked = demand.daily(demand.read_curve(path), requests=1000, least_s=0, seed=1)
    assert asked.horizon_s == 10 * demand.DAY_S
    assert 850 < len(asked.arrivals_s) < 1150
    assert {int(at // 3600) % 24 for at in asked.arrivals_s} == {12}
    assert main(["plan", "--curve", str(path), "--requests", "200"], {}) == 0


def test_logged_times(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,who\n2026-01-01T00:00:10+00:00,a\n1767225600,b\n1767225620.5,c\n")
    asked = demand.read_timestamps(path)
    assert list(asked.arrivals_s) == [0, 10, 20.5]
    assert asked.horizon_s == pytest.approx(30.75)
    assert main(["plan", "--timestamps", str(path)], {}) == 0


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_pictures_for_light_and_dark_pages(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"plan{suffix}"
    assert main(["plan", "--rate", "50", "--requests", "100", "--plot", str(target)], {}) == 0
    light, dark = (tmp_path / f"plan-{theme}{suffix}" for theme in ("light", "dark"))
    assert light.stat().st_size > 3000
    assert light.read_bytes() != dark.read_bytes()
    if suffix == ".svg":
        assert b"</svg>" in light.read_bytes()


@pytest.mark.parametrize(
    "argv",
    [
        ("--rate", "0"),
        ("--rate", "nan"),
        ("--rate", "5", "--gpu", "OTHER"),
        ("--rate", "5", "--max", "0"),
        ("--rate", "5", "--requests", "0"),
        ("--rate", "5", "--figures", "none.toml"),
        ("--curve", "none.csv"),
        ("--timestamps", "none.csv"),
        ("--rate", "5", "--requests", "50", "--plot", "plan.jpeg"),
        ("--rate", "5", "--requests", "50", "--plot", "/nowhere/plan.svg"),
    ],
)
def test_a_bad_argument_is_one_line(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *argv], {}) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cold_start_s = 20.0", "cold_start_s = -1", "cold_start_s"),
        ("1 = 0.15\n", "", "batch of 1"),
        ("1 = 0.15", "one = 0.15", "batch sizes"),
        ("AMPERE_24 = 0.69", 'AMPERE_24 = "0.69"', "AMPERE_24"),
        ('measured = "', 'gone = "', "measured"),
        ("[usd_per_hour]", "[usd_per_hour", "TOML"),
    ],
)
def test_bad_figures_are_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = figures.PATH.read_text()
    assert old in text
    path = tmp_path / "figures.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(DeployError, match=said):
        figures.load(path)


@pytest.mark.parametrize("text", ["", "1\n", "a,b\nc,d\n", "5\n5\n", "2026-13-45\n1\n"])
def test_bad_times_are_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(DeployError):
        demand.read_timestamps(path)
