"""What the file means at the platform, and what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from deploy import config, desired
from tests.deploy.rest_schema import CREATE, UPDATE

IMAGE = "owner/repo@sha256:" + "1" * 64
CONFIG = config.load()


def wanted(**changes: Any) -> desired.Body:
    return desired.body(replace(CONFIG, **changes), IMAGE, {"EMBEDDING_HMAC_SECRET": "hush"})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scaler": "REQUEST_COUNT", "scaler_value": 4.0},
        {"scaler_value": 0.5},
        {"registry_credential_id": "reg1"},
        {"flashboot": False, "excluded_types": ()},
    ],
)
def test_every_form_is_in_the_schema(changes: dict[str, Any]) -> None:
    body = wanted(**changes)
    Draft202012Validator(CREATE).validate(body)
    Draft202012Validator(UPDATE).validate(desired.patch({}, body))


def test_a_change_of_scaler_is_sent_with_its_workers() -> None:
    body = wanted(scaler="REQUEST_COUNT", scaler_value=4.0)
    assert set(desired.patch(wanted(), body)) == {"scaling"}
    assert "idleTimeout" not in body["workers"]


def test_a_set_of_cuda_versions_in_the_way_is_cleared() -> None:
    live = wanted()
    live["gpu"] = {**live["gpu"], "allowedCudaVersions": ["12.8"], "minCudaVersion": None}
    assert desired.patch(live, wanted())["gpu"]["allowedCudaVersions"] == []


def test_what_the_platform_leaves_out_is_no_change() -> None:
    live = {**wanted(excluded_types=()), "id": "ep", "createdAt": "now", "dataCenterIds": []}
    del live["gpu"]["excludedTypes"]
    assert desired.changes(live, wanted(excluded_types=()), CONFIG.env) == []


def test_a_variable_that_is_not_in_the_file_is_shown_as_going_and_stays_hidden() -> None:
    live = wanted()
    live["env"] = {**live["env"], "OLD_TOKEN": "very-secret"}
    (change,) = desired.changes(live, wanted(), CONFIG.env)
    assert str(change).strip() == "env.OLD_TOKEN: **** -> (not set)"


def test_masking_hides_what_is_not_plain() -> None:
    body = wanted()
    shown = desired.masked(body, CONFIG.env)
    assert shown["env"] == {"LOG_LEVEL": "INFO", "EMBEDDING_HMAC_SECRET": "****"}
    assert body["env"]["EMBEDDING_HMAC_SECRET"] == "hush"
