import json
import logging

import pytest

from worker import log


def test_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    log.event("job", request_id='a"b\nc', total_ms=1.5)
    log.warning("odd", what={"nested": [1]})
    logging.getLogger("heimdex_clip.worker").debug("not shown")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("job", "INFO"), ("odd", "WARNING")]
    assert lines[0]["request_id"] == 'a"b\nc'
    assert lines[0]["time"].endswith("Z")


def test_a_cause_names_type_and_place_but_no_message() -> None:
    try:
        raise KeyError("https://example.com/?token=secret")
    except KeyError as error:
        cause = log.cause(error)
    assert cause.startswith("KeyError at test_log.py:")
    assert "secret" not in cause
