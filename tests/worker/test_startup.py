from __future__ import annotations

import json

import pytest

from heimdex_clip.encoder.routes import Route, fastest
from tests import tiny_model
from worker import log, settings, startup


def logged(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    """Events by name."""
    return {line["event"]: line for line in map(json.loads, capsys.readouterr().err.splitlines())}


def test_what_decodes_and_resizes_is_told_at_start(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_model.build(tmp_path_factory.mktemp("model") / "tiny")
    log.configure("INFO")
    encoder = startup.load_encoder(settings.read({"CLIP_MODEL_DIR": str(folder), "WORKER_RUNTIME": "cpu"}))
    ready, facts, route = logged(capsys)["model_ready"], startup.facts(encoder), fastest()
    assert (ready["decoder"], ready["resampler"]) == (route.decoder, route.resampler)
    assert (facts["decoder"], facts["resampler"]) == (route.decoder, route.resampler)


def test_a_worker_on_pillow_alone_says_so_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    startup.warn_of_slow(Route(lacking=("the resampling extension is not built",)))
    startup.warn_of_slow(Route())
    line = logged(capsys)["slow_preprocessing"]
    assert line["level"] == "WARNING"
    assert str(line["decoder"]).startswith("Pillow ")
    assert line["decoder"] == line["resampler"]
    assert line["reasons"] == ["the resampling extension is not built"]
