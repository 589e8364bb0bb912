"""Whatever is killed during a bulk run, no row is lost and none comes twice. The long form is ``make bulk-soak``."""

from __future__ import annotations

from pathlib import Path

from tests.faults.bulk_kills import KILLS, ids_of, run, scene, without_vector

ROWS, PART_ROWS = 1500, 150


async def test_kills_lose_and_repeat_nothing(model_dir: Path, tmp_path: Path) -> None:
    # Before the first part, within, and near the end.
    kills = {0: "client", 1: "worker", 3: "api", 5: "client", 8: "worker"}
    async with scene(model_dir) as there:
        code, output = await run(there, tmp_path, rows=ROWS, part_rows=PART_ROWS, kills=kills)
        assert code == 0, output
        assert set(there.killed) == set(KILLS)
    assert ids_of(tmp_path / "out") == [f"row-{n}" for n in range(ROWS)]
    assert without_vector(tmp_path / "out") == 0
    left_over = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("part-")}
    assert left_over == {".lock", "run.json"}
