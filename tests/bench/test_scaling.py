from __future__ import annotations

import pytest

from bench import environments, scaling, scalingtables, tables


def _cell(clients: int, per_s: float, queue_ms: float) -> scaling.Cell:
    stages = dict.fromkeys(scaling.STAGES, 1.0) | {"queue_ms": queue_ms}
    return scaling.Cell(0, clients, (640, 360), per_s, 10.0, 20.0, 30.0, stages, 0.9)


def test_the_knee_is_where_throughput_stops_to_grow_and_its_stage_the_one_that_grows() -> None:
    cells = [_cell(1, 10, 0), _cell(4, 38, 5), _cell(16, 40, 60), _cell(64, 39, 900)]

    assert scalingtables.knee(cells) == (4, "queue_ms")


def test_the_hottest_lines_are_the_innermost_of_our_own() -> None:
    first = (environments.ROOT / "worker" / "__main__.py").read_text().splitlines()[0]
    stacks = "\n".join(
        [
            "main (/x/worker/__main__.py:1);run (/x/heimdex_clip/encoder/runtimes/ort_cpu.py:99999);"
            "run (/x/site-packages/onnxruntime/session.py:1) 70",
            "main (/x/worker/__main__.py:1);load (/x/site-packages/PIL/Image.py:5) 20",
            "spin (/usr/lib/python3.11/asyncio/base.py:3) 10",
            "nonsense",
        ]
    )

    profile = scaling.hottest(stacks)

    assert profile.samples == 100
    assert profile.lines == [
        ("heimdex_clip/encoder/runtimes/ort_cpu.py:99999 run", 70),
        ("worker/__main__.py:1 " + first.strip(), 20),
    ]


def test_every_cell_comes_in_both_directions() -> None:
    there, back = scaling._alternating(0), scaling._alternating(1)

    assert there == back[::-1]
    assert len(there) == len(scaling.CLIENTS) + len(scaling.SIZES)


def test_a_thousand_images_cost_what_the_worker_costs_for_their_time() -> None:
    assert tables.usd_per_1000(0.36, 10.0) == pytest.approx(0.01)
