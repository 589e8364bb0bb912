"""From the file to the platform's own form, and what differs from the endpoint that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.config import EndpointConfig
from deploy.errors import DeployError

HIDDEN = "****"
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs. `old` and `new` are ready to print: no secret's value is in them."""

    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"  {self.path}: {self.old} -> {self.new}"


def body(config: EndpointConfig, image: str, secrets: Mapping[str, str]) -> Body:
    """The endpoint as a request to create it; `secrets` are the values for the names in the file."""
    value = config.scaler_value
    scaling = (
        {"type": "QUEUE_DELAY", "queueDelay": int(value) if value.is_integer() else value}
        if config.scaler == "QUEUE_DELAY"
        else {"type": "REQUEST_COUNT", "requestCount": int(value)}
    )
    workers = {"min": config.workers_min, "max": config.workers_max}
    # The platform refuses an idle timeout beside this scaler on a queue.
    if config.scaler == "QUEUE_DELAY":
        workers["idleTimeout"] = config.idle_timeout_s
    return {
        "name": config.name,
        "type": "QUEUE",
        "image": image,
        "disk": config.container_disk_gb,
        "env": {**config.env, **secrets},
        "registry": config.registry_credential_id or None,
        "gpu": {
            "pools": list(config.pools),
            "excludedTypes": list(config.excluded_types),
            "count": config.gpus,
            # Said outright: a set that the endpoint already carries would exclude the floor.
            "allowedCudaVersions": [],
            "minCudaVersion": config.min_cuda_version,
        },
        "workers": workers,
        "scaling": scaling,
        "timeout": config.execution_timeout_s * 1000,
        "flashboot": "FLASHBOOT" if config.flashboot else "OFF",
    }


def masked(request_body: Mapping[str, Any], plain_env: Mapping[str, str]) -> Body:
    """The body as it may be shown: every variable that is not plainly in the file is hidden."""
    shown = dict(request_body)
    if "env" in shown:
        shown["env"] = {name: value if name in plain_env else HIDDEN for name, value in shown["env"].items()}
    return shown


def changes(live: Mapping[str, Any], wanted: Body, plain_env: Mapping[str, str]) -> list[Change]:
    """What must change for `live` to become `wanted`. Raises DeployError for what cannot be changed."""
    if live.get("type") not in (None, wanted["type"]):
        raise DeployError(
            f"the endpoint {live.get('id')} is of type {live['type']}, which cannot be changed to"
            f" {wanted['type']}; take it down first"
        )
    return [
        change for key in wanted if key not in ("type", "name") for change in _changes(key, live, wanted, plain_env)
    ]


def patch(live: Mapping[str, Any], wanted: Body) -> Body:
    """The smallest update that the platform takes: each changed top-level field, whole."""
    return {
        key: value
        for key, value in wanted.items()
        if key not in ("type", "name") and list(_changes(key, live, wanted, {}))
    }


def _changes(key: str, live: Mapping[str, Any], wanted: Body, plain_env: Mapping[str, str]) -> Iterator[Change]:
    old, new = live.get(key), wanted[key]
    if key == "env":
        yield from _env_changes(old or {}, new, plain_env)
    elif isinstance(new, dict):
        known = old if isinstance(old, dict) else {}
        for field, value in new.items():
            # An empty list may be left out of an answer.
            if known.get(field) != value and (known.get(field) or value):
                yield Change(f"{key}.{field}", str(known.get(field)), str(value))
    elif old != new:
        yield Change(key, str(old), str(new))


def _env_changes(old: Mapping[str, str], new: Mapping[str, str], plain_env: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        if old.get(name) == new.get(name):
            continue
        before, after = (
            "(not set)" if name not in env else repr(env[name]) if name in plain_env else HIDDEN for env in (old, new)
        )
        yield Change(f"env.{name}", before, after)
