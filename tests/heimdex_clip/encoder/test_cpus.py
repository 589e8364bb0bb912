from __future__ import annotations

import os
from pathlib import Path

import pytest

from heimdex_clip.encoder.cpus import available_cpus

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cgroup_v1(folder: Path, quota: str, period: str) -> Path:
    (folder / "cpu").mkdir()
    (folder / "cpu/cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu/cpu.cfs_period_us").write_text(period)
    return folder


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("50000 100000\n", 1),
        ("100000 100000\n", 1),
        ("110000 100000\n", min(ALL, 2)),
        ("99900000 100000\n", ALL),
        ("max 100000\n", ALL),
        ("0 100000\n", ALL),
        ("100000 0\n", ALL),
        ("nonsense\n", ALL),
    ],
)
def test_quota_of_cgroup_v2(tmp_path: Path, text: str, cpus: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("100000\n", 1), ("-1\n", ALL)])
def test_quota_of_cgroup_v1(tmp_path: Path, quota: str, cpus: int) -> None:
    assert available_cpus(cgroup_v1(tmp_path, quota, "100000\n")) == cpus


def test_without_a_cgroup_affinity_alone_counts(tmp_path: Path) -> None:
    assert available_cpus(tmp_path / "none") == ALL


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_affinity_caps(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_cpus(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)
