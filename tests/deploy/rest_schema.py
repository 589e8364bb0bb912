"""What RunPod's REST API v2 takes and gives, condensed from its OpenAPI description into JSON Schemas.

The source is named in docs/deployment.md. Fields that a serverless endpoint of ours never uses are left out; an
unknown field is refused, as the platform does.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXTS: Schema = {"type": "array", "items": {"type": "string"}}
_VERSION = r"^\d+\.\d+$"

_CONTAINER: Schema = {
    "args": {"type": "string"},
    "disk": {"type": "integer", "minimum": 1},
    "env": {"type": "object", "additionalProperties": {"type": "string"}},
    "image": {"type": "string"},
    "ports": _TEXTS,
    "registry": {"type": ["string", "null"]},
}
_GPU: Schema = {
    "pools": {**_TEXTS, "minItems": 1},
    "excludedTypes": {**_TEXTS, "uniqueItems": True},
    "count": {"type": "integer", "minimum": 1},
    "allowedCudaVersions": {"type": "array", "items": {"type": "string", "pattern": _VERSION}},
}
_WORKERS: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "min": {"type": "integer", "minimum": 0},
        "max": {"type": "integer", "minimum": 0},
        "idleTimeout": {"type": "integer", "minimum": 1, "maximum": 3600},
    },
}
_QUEUE_DELAY: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "queueDelay"],
    "properties": {"type": {"const": "QUEUE_DELAY"}, "queueDelay": {"type": "number", "minimum": 0.5}},
}
_REQUEST_COUNT: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "requestCount"],
    "properties": {"type": {"const": "REQUEST_COUNT"}, "requestCount": {"type": "integer", "minimum": 1}},
}
_COMMON: Schema = {
    **_CONTAINER,
    "name": {"type": "string", "minLength": 1},
    "dataCenterIds": _TEXTS,
    "flashboot": {"enum": ["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"]},
    "networkVolumes": _TEXTS,
    "scaling": {"oneOf": [_QUEUE_DELAY, _REQUEST_COUNT]},
    "templateId": {"type": "string", "minLength": 1},
    "timeout": {"type": "integer"},
    "workers": _WORKERS,
}

CREATE: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "type", "scaling"],
    "properties": {
        **_COMMON,
        "type": {"enum": ["QUEUE", "LOAD_BALANCER"]},
        "gpu": {
            "type": "object",
            "additionalProperties": False,
            "required": ["pools"],
            "properties": {**_GPU, "minCudaVersion": {"type": "string", "pattern": _VERSION}},
        },
    },
    "if": {"not": {"required": ["templateId"]}},
    "then": {"required": ["image"]},
}

# No `type`: a queue stays a queue.
UPDATE: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **_COMMON,
        "gpu": {
            "type": "object",
            "additionalProperties": False,
            "dependentRequired": {"excludedTypes": ["pools"]},
            "properties": {**_GPU, "minCudaVersion": {"type": "string", "pattern": rf"^$|{_VERSION}"}},
        },
    },
}
