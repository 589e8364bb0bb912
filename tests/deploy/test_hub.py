""".runpod/: the files that RunPod's hub reads, against its publishing guide and against the worker itself."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from heimdex_clip.contract import EmbedRequest, InfoRequest
from worker import policies, settings
from worker.authentication import Authenticator
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
HUB: dict[str, Any] = json.loads((ROOT / ".runpod" / "hub.json").read_text())
TESTS: dict[str, Any] = json.loads((ROOT / ".runpod" / "tests.json").read_text())

_STATIC = {
    "type": "object",
    "additionalProperties": False,
    "required": ["key", "value"],
    "properties": {"key": {"type": "string"}, "value": {"type": "string"}},
}
_INPUT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["key", "input"],
    "properties": {
        "key": {"type": "string"},
        "input": {
            "type": "object",
            "required": ["name", "type", "description", "default"],
            "properties": {"type": {"enum": ["string", "number", "boolean", "huggingface"]}},
        },
    },
}
_WHERE = [{"required": ["cpuFlavor"]}, {"required": ["gpuCount"]}]
HUB_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["title", "description", "type", "category", "config"],
    "properties": {
        "title": {"type": "string", "minLength": 1},
        "description": {"type": "string", "minLength": 1},
        "type": {"const": "serverless"},
        "category": {"enum": ["audio", "embedding", "language", "video", "image"]},
        "iconUrl": {"type": "string", "format": "uri"},
        "config": {
            "type": "object",
            "required": ["runsOn", "containerDiskInGb"],
            "properties": {
                "runsOn": {"enum": ["GPU", "CPU"]},
                "containerDiskInGb": {"type": "integer"},
                "env": {"type": "array", "items": {"oneOf": [_STATIC, _INPUT]}},
            },
            "oneOf": _WHERE,
        },
    },
}
TESTS_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["tests", "config"],
    "properties": {
        "tests": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "input"],
                "properties": {
                    "name": {"type": "string"},
                    "input": {"type": "object"},
                    "timeout": {"type": "integer", "minimum": 1000},
                },
            },
        },
        "config": {"type": "object", "properties": {"env": {"type": "array", "items": _STATIC}}, "oneOf": _WHERE},
    },
}


def test_both_are_of_the_hubs_form() -> None:
    Draft202012Validator(HUB_SCHEMA).validate(HUB)
    Draft202012Validator(TESTS_SCHEMA).validate(TESTS)


def test_what_the_hub_builds_is_what_is_asked_to_run() -> None:
    # The hub builds the Dockerfile as it is, so its default lane decides.
    default = re.search(r"^ARG LANES=(\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert default
    assert default[1] == "cpu"
    assert HUB["config"]["runsOn"] == "CPU"
    for document in (HUB, TESTS):
        assert {"key": "WORKER_RUNTIME", "value": "cpu"} in document["config"]["env"]


def test_the_files_that_the_hub_looks_for_are_there() -> None:
    for name in ("Dockerfile", "README.md", ".runpod/handler.py"):
        assert (ROOT / name).is_file()
    ast.parse((ROOT / ".runpod" / "handler.py").read_text())


def test_every_variable_is_the_workers_and_every_default_is_its_own() -> None:
    known = {declared.metadata["env"]: declared for declared in fields(Settings)}
    for entry in HUB["config"]["env"]:
        assert entry["key"] in known
        given = entry.get("input")
        if given is None:
            continue
        value = given["default"]
        if isinstance(value, bool):
            value = given["trueValue" if value else "falseValue"]
        assert str(value) == settings.shown(known[entry["key"]].default)
        for option in given.get("options", []):
            settings.read({entry["key"]: option["value"]})


def test_no_secret_stands_there() -> None:
    (secret,) = (entry for entry in HUB["config"]["env"] if entry["key"] == "EMBEDDING_HMAC_SECRET")
    assert secret["input"]["default"] == ""


@pytest.mark.parametrize("test", TESTS["tests"], ids=lambda test: test["name"])
def test_a_worker_set_up_so_takes_the_tests_inputs(test: dict[str, Any]) -> None:
    read = settings.read({entry["key"]: entry["value"] for entry in TESTS["config"]["env"]})
    request = Authenticator(policies.auth_policy(read)).authenticate(test["input"]).request
    assert isinstance(request, EmbedRequest | InfoRequest)
