"""Every setting of the worker: one frozen dataclass, read once from the environment in main.

The table in docs/configuration.md lists the same variables; a test holds the two together.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from heimdex_clip.addresses import Network
from heimdex_clip.encoder import runtimes
from heimdex_clip.errors import SettingsError
from worker.addresses import parse_host

T = TypeVar("T")


def _text(value: str) -> str:
    return value


def _flag(value: str) -> bool:
    """0 or 1."""
    return {"0": False, "1": True}[value]


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", value, re.ASCII) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    parse.__doc__ = f"a whole number from {low} to {high}"
    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value, re.ASCII) or not low <= float(value) <= high:
            raise ValueError
        return float(value)

    parse.__doc__ = f"a number from {low:g} to {high:g}"
    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError
        return value

    parse.__doc__ = "one of " + ", ".join(choices)
    return parse


def _ports(value: str) -> frozenset[int]:
    """port numbers, separated by commas"""
    return frozenset(_whole(1, 65535)(part.strip()) for part in value.split(","))


def _hosts(value: str) -> tuple[str, ...]:
    """host names such as images.example.com (those below it are meant too) or IP addresses, separated by commas"""
    # An empty entry is no slip to pass over: where all are, every host would be allowed.
    return tuple(parse_host(part.strip()) for part in value.split(","))


def _networks(value: str) -> tuple[Network, ...]:
    """networks such as 10.0.0.0/8, separated by commas"""
    return tuple(ipaddress.ip_network(part.strip()) for part in value.split(",") if part.strip())


def _keys(value: str) -> tuple[str, ...]:
    """keys, separated by commas"""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _sha256(value: str) -> str:
    """64 hex digits"""
    if not re.fullmatch(r"[0-9a-fA-F]{64}|", value, re.ASCII):
        raise ValueError
    return value.lower()


def _env(name: str, default: T, parse: Callable[[str], T], doc: str, *, secret: bool = False) -> T:
    """A field read from `name`; typed as its value, since dataclass fields are declared by assignment."""
    metadata = {"env": name, "parse": parse, "doc": doc, "secret": secret}
    declared: Any = field(default=default, metadata=metadata, repr=not secret)
    return declared  # type: ignore[no-any-return]  # dataclasses types field() the same way


MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """The worker's settings. Units are in the names; `repr` shows no secret."""

    hmac_secret: str = _env("EMBEDDING_HMAC_SECRET", "", _text, "Signing secret, kid `default`.", secret=True)
    hmac_secrets: str = _env(
        "EMBEDDING_HMAC_SECRETS",
        "",
        _text,
        "Several signing secrets, `kid:secret,kid:secret`, for rotation.",
        secret=True,
    )
    auth_window_s: int = _env("AUTH_TIME_WINDOW_SECONDS", 120, _whole(1, 86400), "How far a v1 `ts` may lie from now.")
    auth_accept_v1: bool = _env("AUTH_ACCEPT_V1", True, _flag, "Whether v1 signatures are accepted.")
    auth_audience: str = _env(
        "AUTH_AUDIENCE",
        "",
        _text,
        "`aud` that v2 payloads must name; empty: RUNPOD_ENDPOINT_ID, else `local`.",
    )
    allow_insecure_auth: bool = _env(
        "ALLOW_INSECURE_AUTH", False, _flag, "Start without any secret and accept unsigned requests."
    )
    model_name: str = _env(
        "CLIP_MODEL_NAME",
        "",
        _text,
        "Model that must be served; empty: `ViT-B-32`, or what CLIP_MODEL_DIR holds.",
    )
    pretrained: str = _env(
        "CLIP_PRETRAINED",
        "",
        _text,
        "Weights that must be served; empty: `openai`, or what CLIP_MODEL_DIR holds.",
    )
    model_dir: str = _env(
        "CLIP_MODEL_DIR", "", _text, "Model folder; empty: `models/<CLIP_MODEL_NAME>-<CLIP_PRETRAINED>`."
    )
    manifest_sha256: str = _env(
        "MODEL_MANIFEST_SHA256", "", _sha256, "sha256 that manifest.json must have; the image bakes it."
    )
    allow_untrained: bool = _env(
        "ALLOW_UNTRAINED_MODEL", False, _flag, "Let a serverless worker serve seeded, meaningless weights."
    )
    runtime: str = _env("WORKER_RUNTIME", runtimes.AUTO, _one_of(*runtimes.CHOICES), "Lane to run on.")
    engine_cache: str = _env(
        "ENGINE_CACHE_DIR",
        "",
        _text,
        "Folder, perhaps on a volume, where TensorRT-RTX keeps what it compiles; empty: it compiles at each start.",
    )
    max_image_bytes: int = _env("MAX_IMAGE_SIZE_BYTES", 10485760, _whole(1, 1 << 30), "Largest encoded image accepted.")
    max_image_pixels: int = _env(
        "MAX_IMAGE_PIXELS",
        50_000_000,
        _whole(1, 178_956_970),
        "Largest image accepted, before or after resizing.",
    )
    download_timeout_s: float = _env(
        "IMAGE_DOWNLOAD_TIMEOUT", 30.0, _seconds(0.1, 600), "Seconds for one download, redirects included."
    )
    allowed_ports: frozenset[int] = _env(
        "ALLOWED_IMAGE_PORTS", frozenset({80, 443}), _ports, "Ports that image URLs may name."
    )
    allowed_hosts: tuple[str, ...] = _env(
        "ALLOWED_IMAGE_HOSTS",
        (),
        _hosts,
        "Hosts that image URLs and redirects may name, each with all names below it; empty: every public host.",
    )
    allowed_private: tuple[Network, ...] = _env(
        "ALLOWED_PRIVATE_CIDRS",
        (),
        _networks,
        "Networks outside the public internet that may be downloaded from.",
    )
    concurrency: int = _env("WORKER_CONCURRENCY", 512, _whole(1, 4096), "Jobs taken at once from the queue; constant.")
    max_batch: int = _env(
        "MAX_BATCH", 64, _whole(1, 256), "Most images or texts encoded together (the cpu lane: at most 8)."
    )
    batch_wait_ms: float = _env(
        "BATCH_WAIT_MS", 2.0, _seconds(0, 1000), "Longest wait of a busy device for a fuller batch."
    )
    encode_timeout_s: float = _env(
        "ENCODE_TIMEOUT_S", 60.0, _seconds(0.1, 3600), "Seconds for one batch; a longer one hangs, and the worker ends."
    )
    max_batch_items: int = _env("MAX_BATCH_ITEMS", 256, _whole(1, 4096), "Most items of one request.")
    max_inflight_items: int = _env("MAX_INFLIGHT_ITEMS", 256, _whole(1, 65536), "Items worked on at once.")
    max_inflight_bytes: int = _env(
        "MAX_INFLIGHT_BYTES", 256 * MIB, _whole(MIB, 1 << 40), "Downloads and decoded pixels held at once."
    )
    max_queued_items: int = _env(
        "MAX_QUEUED_ITEMS", 2048, _whole(0, 1 << 20), "Items that may wait; more fail with OVERLOADED."
    )
    job_timeout_s: float = _env("JOB_TIMEOUT_S", 110.0, _seconds(0.1, 3600), "Seconds until a job is dropped.")
    host: str = _env("HOST", "0.0.0.0", _text, "Address that `serve` listens on.")  # noqa: S104  # a container's door
    port: int = _env("PORT", 8000, _whole(0, 65535), "Port that `serve` listens on; 0: any free one, which is logged.")
    port_health: int = _env(
        "PORT_HEALTH", 0, _whole(0, 65535), "Second port of `serve`, for health checks; 0: the same as PORT."
    )
    api_keys: tuple[str, ...] = _env(
        "EMBEDDING_API_KEYS",
        (),
        _keys,
        "Bearer keys for `/v1/embeddings`, separated by commas; none: the route answers 401.",
        secret=True,
    )
    playground: bool = _env("PLAYGROUND", False, _flag, "Serve a page to try the model at `/`, to this machine only.")
    log_level: str = _env(
        "LOG_LEVEL", "INFO", _one_of("DEBUG", "INFO", "WARNING", "ERROR"), "Least severe line that is logged."
    )
    serverless: bool = _env(
        "RUNPOD_SERVERLESS",
        False,
        _flag,
        "Run as a RunPod worker when no subcommand is given; stricter checks.",
    )
    endpoint_id: str = _env("RUNPOD_ENDPOINT_ID", "", _text, "Set by RunPod: the endpoint's id.")

    @property
    def folder(self) -> Path:
        """The model folder to serve."""
        name = f"{self.model_name or 'ViT-B-32'}-{self.pretrained or 'openai'}"
        return Path(self.model_dir) if self.model_dir else Path("models") / name

    @property
    def audience(self) -> str:
        """`aud` of v2 payloads meant for this worker."""
        return self.auth_audience or self.endpoint_id or "local"


def shown(value: object) -> str:
    """A default as the environment would spell it."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, frozenset | tuple):
        return ",".join(map(str, sorted(value)))
    return f"{value:g}" if isinstance(value, float) else str(value)


def table() -> str:
    """Every variable as rows of a Markdown table, for docs/configuration.md."""
    rows = (
        f"| `{declared.metadata['env']}` | {_code(shown(declared.default))} | {declared.metadata['doc']} |"
        for declared in fields(Settings)
    )
    return "\n".join(["| variable | default | what it does |", "| --- | --- | --- |", *rows])


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def read(environ: Mapping[str, str]) -> Settings:
    """Settings from the environment; an empty variable counts as unset.

    Raises SettingsError: one line with the variable, its value (unless secret) and what it takes.
    """
    values: dict[str, Any] = {}
    for declared in fields(Settings):
        name, parse = declared.metadata["env"], declared.metadata["parse"]
        value = environ.get(name, "").strip()
        if not value:
            continue
        try:
            values[declared.name] = parse(value)
        except (ValueError, KeyError):
            shown_value = "(secret)" if declared.metadata["secret"] else repr(value)
            raise SettingsError(f"{name}={shown_value}: must be {parse.__doc__.rstrip('.')}") from None
    return Settings(**values)
