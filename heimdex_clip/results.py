"""What a client gives back besides `contract.Embedding`: what is served, how it fares, and that it is switched off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from heimdex_clip import contract
from heimdex_clip.errors import BadReply


@dataclass(frozen=True, slots=True)
class Info:
    """What a backend serves. `limits` are its own, by name with their units."""

    model: str
    pretrained: str
    untrained: bool
    model_digest: str
    dim: int
    lane: str
    limits: Mapping[str, object]
    backend: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """How a backend fares. `ready` says that it can embed without a start; `detail` is what it told of itself.

    A RunPod endpoint that scales to zero is healthy and not ready while nobody asks it.
    """

    backend: str
    ready: bool
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Disabled:
    """Nothing was embedded, on purpose: CLIP_INFERENCE_BACKEND is `off`."""

    request_id: str | None = None
    backend: str = "off"


def parse_info(reply: Mapping[str, object], *, backend: str) -> Info:
    """The worker's answer to ``{"op": "info"}``, or its /health. Raises BadReply, naming the field at fault."""
    return Info(
        model=contract.reply_field(reply, "model", str),
        pretrained=contract.reply_field(reply, "pretrained", str),
        untrained=contract.reply_field(reply, "untrained", bool),
        model_digest=contract.reply_field(reply, "model_digest", str),
        dim=contract.reply_field(reply, "dim", int),
        lane=contract.reply_field(reply, "lane", str),
        limits=contract.reply_field(reply, "limits", dict),
        backend=backend,
    )


def parse_json_object(body: bytes, what: str) -> Mapping[str, object]:
    """A JSON object, or BadReply naming `what` it should have been."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadReply(f"{what} is not a JSON object")
    return found
