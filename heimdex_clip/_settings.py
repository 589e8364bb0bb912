"""The client's settings, read once from the environment when a client is made from it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Self, TypeVar

from heimdex_clip.addresses import Network, canonical
from heimdex_clip.errors import SettingsError
from heimdex_clip.signing import DEFAULT_KID

T = TypeVar("T")
BACKENDS = ("runpod", "http", "local", "off")
FALLBACKS = ("off", "local", "http")
DEFAULT_BASE_URL = "https://api.runpod.ai/v2"


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What `from_env` makes a client of. Units are in the names; `repr` shows no secret."""

    backend: str = "runpod"
    fallback: str = "off"
    api_key: str = field(default="", repr=False)
    endpoint_id: str = ""
    base_url: str = DEFAULT_BASE_URL
    timeout_s: float = 60.0
    attempt_timeout_s: float = 20.0
    secret: str = field(default="", repr=False)
    kid: str = DEFAULT_KID
    http_url: str = ""
    http_audience: str = "local"
    model_dir: str = ""
    expected_digest: str = ""
    canary_endpoint_id: str = ""
    canary_percent: float = 0.0
    allowed_private: tuple[Network, ...] = ()
    allowed_ports: frozenset[int] = frozenset({80, 443})
    allowed_hosts: tuple[str, ...] = ()

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Self:
        """From the process's environment, or `environ`; an empty variable counts as unset.

        Raises SettingsError for a bad value, and for a variable that the chosen backend needs and that is missing:
        one line that names it and never quotes a key or secret.
        """
        env = _Variables(os.environ if environ is None else environ)
        settings = cls(
            backend=env.get("CLIP_INFERENCE_BACKEND", "runpod", _one_of(BACKENDS)),
            fallback=env.get("CLIP_FALLBACK_BACKEND", "off", _one_of(FALLBACKS)),
            api_key=env.text("RUNPOD_API_KEY"),
            endpoint_id=env.text("RUNPOD_CLIP_ENDPOINT_ID"),
            base_url=env.text("RUNPOD_ENDPOINT_BASE_URL", DEFAULT_BASE_URL),
            timeout_s=env.get("RUNPOD_TIMEOUT_S", 60.0, _number(0.1, 3600)),
            attempt_timeout_s=env.get("RUNPOD_ATTEMPT_TIMEOUT_S", 20.0, _number(0.1, 3600)),
            secret=env.text("EMBEDDING_HMAC_SECRET"),
            kid=env.text("EMBEDDING_HMAC_KID", DEFAULT_KID),
            http_url=env.text("CLIP_HTTP_URL"),
            http_audience=env.text("CLIP_HTTP_AUDIENCE", "local"),
            model_dir=env.text("CLIP_MODEL_DIR"),
            expected_digest=env.get("EXPECTED_MODEL_DIGEST", "", _digest),
            canary_endpoint_id=env.text("CLIP_CANARY_ENDPOINT_ID"),
            canary_percent=env.get("CLIP_CANARY_PERCENT", 0.0, _number(0, 100)),
            allowed_private=env.get("ALLOWED_PRIVATE_CIDRS", (), _networks),
            allowed_ports=env.get("ALLOWED_IMAGE_PORTS", frozenset({80, 443}), _ports),
            allowed_hosts=env.get("ALLOWED_IMAGE_HOSTS", (), _hosts),
        )
        for backend in (settings.backend, settings.fallback):
            for name in _NEEDED.get(backend, ()):
                env.require(name, backend)
        if settings.fallback == settings.backend != "off":
            raise SettingsError(f"CLIP_FALLBACK_BACKEND={settings.fallback!r}: is CLIP_INFERENCE_BACKEND itself")
        return settings


_NEEDED = {
    "runpod": ("RUNPOD_API_KEY", "RUNPOD_CLIP_ENDPOINT_ID", "EMBEDDING_HMAC_SECRET"),
    "http": ("CLIP_HTTP_URL", "EMBEDDING_HMAC_SECRET"),
    "local": ("CLIP_MODEL_DIR",),
}


class _Variables:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str = "") -> str:
        return self._environ.get(name, "").strip() or default

    def get(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        value = self.text(name)
        if not value:
            return default
        try:
            return parse(value)
        except ValueError as error:
            raise SettingsError(f"{name}={value!r}: must be {error}") from None

    def require(self, name: str, backend: str) -> None:
        if not self.text(name):
            raise SettingsError(f"{name} is not set; the backend {backend} needs it")


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return value

    return parse


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        wanted = f"a number from {low:g} to {high:g}"
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value, re.ASCII) or not low <= float(value) <= high:
            raise ValueError(wanted)
        return float(value)

    return parse


def _digest(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{16}", value):
        raise ValueError("16 lower-case hex digits")
    return value


def _networks(value: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in value.split(","))
    except ValueError:
        raise ValueError("networks such as 10.0.0.0/8, separated by commas") from None


def _ports(value: str) -> frozenset[int]:
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < int(part) < 65536 for part in parts):
        raise ValueError("ports, separated by commas")
    return frozenset(map(int, parts))


def _hosts(value: str) -> tuple[str, ...]:
    return tuple(_host(part.strip().lower()) for part in value.split(","))


def _host(text: str) -> str:
    try:
        return canonical(text)
    except ValueError:
        # The last label is no number: that would be an address in an odd notation.
        if not re.fullmatch(r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]*[a-z_-][a-z0-9_-]*\.?", text, re.ASCII):
            raise ValueError("host names in ASCII or IP addresses, separated by commas") from None
        return text.removesuffix(".")
