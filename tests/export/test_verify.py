from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export import corpus
from export.__main__ import main
from export.corpus import Case
from export.progress import Progress
from export.verification import Request, verify
from heimdex_clip.encoder import manifest, tokenizer
from heimdex_clip.encoder.golden import Golden
from heimdex_clip.errors import LaneUnavailable, ModelError, SettingsError
from tests import tiny_model


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_model.build(tmp_path / "tiny")


def run(tiny: Path, *arguments: str) -> int:
    return main(["verify", str(tiny), "--html", str(tiny.parent / "page.html"), *arguments])


def request(folder: Path, **options: Any) -> Request:
    return Request(folder, cache=folder, **options)


def test_a_good_folder_passes_with_table_page_and_summary(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tiny) == 0
    out = capsys.readouterr().out
    assert "golden picture 2" in out
    assert "'a cat'" in out
    assert out.splitlines()[-1].startswith("PASSED: tiny untrained-0: 4 files hold; 5 comparisons hold; cosine >= ")
    assert "Passed" in (tiny.parent / "page.html").read_text()


def test_the_page_lies_under_reports_by_default(tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", str(tiny)]) == 0
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["verify-tiny-untrained-0.html"]


def test_an_altered_file_fails_and_nothing_is_run(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny / tiny_model.TEXT).write_bytes(b"altered")
    (tiny / tokenizer.FILE_NAME).unlink()
    assert run(tiny) == 1
    out = capsys.readouterr().out
    assert "text.fp32.onnx has sha256" in out
    assert "tokenizer.json (No such file or directory)" in out
    assert out.splitlines()[-1] == "FAILED: tiny untrained-0: 4 files, 2 altered; no vector compared"


def shifted(stored: Golden) -> Golden:
    vectors = stored.image_embeddings.copy()
    vectors[1, 0] += 1e-3 * np.abs(vectors).max()
    return replace(stored, image_embeddings=vectors)


def with_other_tokens(stored: Golden) -> Golden:
    ids = stored.ids.copy()
    ids[0, 1] += 1
    return replace(stored, ids=ids)


@pytest.mark.parametrize(
    ("change", "name", "fault"),
    [
        (shifted, "golden picture 1", "fails the gate export fp32"),
        (with_other_tokens, "'a cat'", "another input than the reference's"),
    ],
)
def test_the_one_golden_vector_that_is_off_is_named(
    tiny: Path, change: Callable[[Golden], Golden], name: str, fault: str
) -> None:
    report = verify(request(tiny_model.change_golden(tiny, change)), Progress())
    assert {(row.name, row.fault) for row in report.rows if not row.holds} == {(name, fault)}


def test_golden_texts_that_the_tower_does_not_reach_are_one_failed_row(tiny: Path) -> None:
    tiny_model.change_golden(tiny, lambda stored: replace(stored, text_embeddings=-stored.text_embeddings))
    report = verify(request(tiny), Progress())
    assert [row.group for row in report.rows if not row.holds] == ["golden texts"]
    assert "self-test" in report.rows[-1].problem


def test_a_lane_can_be_named(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tiny, "--lane", "cpu") == 0
    capsys.readouterr()
    assert run(tiny, "--lane", "abacus") == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: --lane abacus: must be one of ")


def without_graphs(folder: Path) -> Path:
    return tiny_model.seal(folder, lambda model: replace(model, files={}))


def test_a_named_lane_that_cannot_run_is_an_error(tiny: Path) -> None:
    with pytest.raises(LaneUnavailable, match=r"--lane cpu: .*no fp32 graph"):
        verify(request(without_graphs(tiny), lanes=("cpu",)), Progress())


def test_a_folder_that_no_lane_can_run_fails(tiny: Path) -> None:
    report = verify(request(without_graphs(tiny)), Progress())
    assert not report.passed
    assert all(lane.passed_over for lane in report.lanes)


def test_no_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: no model at ")


def few() -> dict[str, list[Case]]:
    hostile = [case for case in corpus.hostile() if case.name in {"size 17x5", "palette, graded alpha", "16-bit grey"}]
    return {"photographs": corpus.photographs()[:1], "hostile pictures": hostile}


def test_a_fresh_pytorch_run_agrees(model_dir: Path) -> None:
    report = verify(request(model_dir, reference=True), Progress(), cases=few)
    assert [row.fault for row in report.rows if not row.holds] == []
    assert list(report.groups) == ["golden pictures", "golden texts", "photographs", "hostile pictures", "texts"]
    assert {row.lane for row in report.rows} >= {"PyTorch", "cpu"}
    for group in ("photographs", "hostile pictures", "texts"):
        assert all(row.same_input for row in report.groups[group])


def test_a_reference_of_other_weights_is_refused(model_dir: Path, tmp_path: Path) -> None:
    """The hash decides, before any vector is compared."""
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    for path in model_dir.iterdir():
        (spoilt / path.name).symlink_to(path.resolve())
    model = manifest.load(model_dir)
    (spoilt / manifest.FILE_NAME).unlink()
    replace(model, identity=replace(model.identity, weights_sha256="0" * 64)).save(spoilt)
    with pytest.raises(ModelError, match="the reference's weights have sha256"):
        verify(request(spoilt, reference=True), Progress(), cases=few)


@pytest.mark.parametrize(
    ("pretrained", "untrained", "checkpoint", "error", "message"),
    [
        ("laion", False, None, SettingsError, "--checkpoint FILE"),
        ("untrained-0", True, Path("x.pt"), SettingsError, "leave --checkpoint out"),
        ("untrained-x", True, None, ModelError, "untrained-SEED"),
        ("untrained-0", True, None, ModelError, "open_clip knows no model 'tiny'"),
    ],
)
def test_a_reference_that_cannot_be_had_is_one_line(
    tiny: Path, pretrained: str, untrained: bool, checkpoint: Path | None, error: type[Exception], message: str
) -> None:
    tiny_model.seal(tiny, lambda model: replace(model, pretrained=pretrained, untrained=untrained))
    with pytest.raises(error, match=message):
        verify(request(tiny, reference=True, checkpoint=checkpoint), Progress(), cases=few)
