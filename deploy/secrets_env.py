"""Secrets: taken from the environment of whoever deploys, made here, never printed but when made."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from deploy.config import EndpointConfig
from deploy.errors import DeployError

WHERE = """\
It must stand in two places, and nowhere else:
  1. the worker: export EMBEDDING_HMAC_SECRET=... in the shell that runs `python -m deploy up`
  2. every caller: the same variable in the calling service's own secret store
A new secret without downtime: EMBEDDING_HMAC_SECRETS, in docs/security.md."""


def make() -> str:
    """32 random bytes as 64 hex digits."""
    return secrets.token_hex(32)


def api_key(environ: Mapping[str, str]) -> str:
    """The platform's key. Raises DeployError."""
    if not (key := environ.get("RUNPOD_API_KEY", "").strip()):
        raise DeployError("RUNPOD_API_KEY is not set; make a key in RunPod's console, under Settings, API Keys")
    return key


def read(config: EndpointConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """The values of the file's `secrets`. Raises DeployError naming all that are not set."""
    if missing := [name for name in config.secrets if not environ.get(name)]:
        raise DeployError(
            f"not set: {', '.join(missing)}; deploy/endpoint.toml gives them to the worker"
            " (make one with: python -m deploy secret)"
        )
    return {name: environ[name] for name in config.secrets}
