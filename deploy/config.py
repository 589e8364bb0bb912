"""deploy/endpoint.toml, read and checked: what the endpoint should be."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import DeployError

PATH = Path(__file__).parent / "endpoint.toml"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+|[a-z0-9._-]+")
_POOL = re.compile(r"[A-Z]+_([0-9]+)(_[A-Z]+)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST_CARD_GB = 48


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """The endpoint as the file describes it. `digest` is "" when the file names the repository only."""

    name: str
    repository: str
    digest: str
    registry_credential_id: str
    container_disk_gb: int
    execution_timeout_s: int
    flashboot: bool
    pools: tuple[str, ...]
    excluded_types: tuple[str, ...]
    gpus: int
    min_cuda_version: str
    workers_min: int
    workers_max: int
    idle_timeout_s: int
    scaler: str
    scaler_value: float
    env: Mapping[str, str]
    secrets: tuple[str, ...]


def load(path: Path = PATH) -> EndpointConfig:
    """Read the file. Raises DeployError: one line with the field and what it takes."""
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise DeployError(f"cannot read {path} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeployError(f"{path} is not TOML: {error}") from None
    return _Reader(path, document).read()


def checked_digest(digest: str) -> str:
    """`sha256:` and 64 hex digits, as given. Raises DeployError."""
    if not _DIGEST.fullmatch(digest):
        raise DeployError(f"a digest is sha256: and 64 hex digits, not {digest!r}")
    return digest


def split_image(image: str) -> tuple[str, str]:
    """Repository and digest of an image reference; the digest is "" when it has none. Raises DeployError for a tag."""
    repository, _, digest = image.partition("@")
    if digest:
        checked_digest(digest)
    if not _REPOSITORY.fullmatch(repository) or ":" in repository.rpartition("/")[2]:
        raise DeployError(
            f"image {image!r} must be a repository, or repository@sha256:...; a tag can be moved to other content"
        )
    return repository, digest


class _Reader:
    """Takes fields out of the document one by one, so that what is left at the end is unknown."""

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        self._path = path
        self._tables: dict[str, dict[str, Any]] = {"": document}
        for name in ("gpu", "workers", "scaling", "env"):
            self._tables[name] = self._take("", name, dict, "a table")

    def read(self) -> EndpointConfig:
        repository, digest = split_image(self._text("", "image"))
        scaler, value = self._scaling()
        config = EndpointConfig(
            name=self._text("", "name"),
            repository=repository,
            digest=digest,
            registry_credential_id=self._take("", "registry_credential_id", str, "text"),
            container_disk_gb=self._whole("", "container_disk_gb", 1, 1000),
            execution_timeout_s=self._whole("", "execution_timeout_s", 5, 86_400),
            flashboot=self._take("", "flashboot", bool, "true or false"),
            pools=self._texts("gpu", "pools"),
            excluded_types=self._texts("gpu", "excluded_types"),
            gpus=self._whole("gpu", "count", 1, 8),
            min_cuda_version=self._text("gpu", "min_cuda_version"),
            workers_min=self._whole("workers", "min", 0, 100),
            workers_max=self._whole("workers", "max", 1, 100),
            idle_timeout_s=self._whole("workers", "idle_timeout_s", 1, 3600),
            scaler=scaler,
            scaler_value=value,
            env=self._env(),
            secrets=self._texts("", "secrets"),
        )
        self._nothing_left()
        self._check(config)
        return config

    def _scaling(self) -> tuple[str, float]:
        match self._text("scaling", "type"):
            case "QUEUE_DELAY":
                value = self._take("scaling", "queue_delay_s", (int, float), "a number")
                if isinstance(value, bool) or not 0.5 <= value <= 3600:
                    raise self._error("scaling.queue_delay_s", "a number from 0.5 to 3600")
                return "QUEUE_DELAY", float(value)
            case "REQUEST_COUNT":
                return "REQUEST_COUNT", float(self._whole("scaling", "request_count", 1, 100_000))
        raise self._error("scaling.type", "QUEUE_DELAY or REQUEST_COUNT")

    def _check(self, config: EndpointConfig) -> None:
        if config.workers_min > config.workers_max:
            raise self._error("workers.min", "at most workers.max")
        if not re.fullmatch(r"[0-9]+\.[0-9]+", config.min_cuda_version):
            raise self._error("gpu.min_cuda_version", 'a version such as "13.0"')
        if not config.pools:
            raise self._error("gpu.pools", "at least one pool")
        for pool in config.pools:
            size = _POOL.fullmatch(pool)
            if not size or int(size[1]) > _LARGEST_CARD_GB:
                raise self._error("gpu.pools", f"pools of cards up to {_LARGEST_CARD_GB} GB, not {pool!r}")
        for name in (*config.env, *config.secrets):
            if not _VARIABLE.fullmatch(name):
                raise self._error("env and secrets", f"names of variables, not {name!r}")
        if both := sorted(set(config.env) & set(config.secrets)):
            raise self._error(f"env.{both[0]}", "left out: it is named in secrets")

    def _env(self) -> dict[str, str]:
        env = dict(self._tables["env"])
        self._tables["env"].clear()
        for name, value in env.items():
            if not isinstance(value, str):
                raise self._error(f"env.{name}", "text in quotes")
        return env

    def _take(self, table: str, key: str, kind: type | tuple[type, ...], what: str) -> Any:
        value = self._tables[table].pop(key, None)
        if not isinstance(value, kind):
            raise self._error(f"{table}.{key}".lstrip("."), what)
        return value

    def _text(self, table: str, key: str) -> str:
        value: str = self._take(table, key, str, "text, not empty")
        if not value.strip():
            raise self._error(f"{table}.{key}".lstrip("."), "text, not empty")
        return value

    def _texts(self, table: str, key: str) -> tuple[str, ...]:
        values = self._take(table, key, list, "a list of texts")
        if not all(isinstance(value, str) and value for value in values):
            raise self._error(f"{table}.{key}".lstrip("."), "a list of texts")
        return tuple(values)

    def _whole(self, table: str, key: str, low: int, high: int) -> int:
        value = self._take(table, key, int, f"a whole number from {low} to {high}")
        if isinstance(value, bool) or not low <= value <= high:
            raise self._error(f"{table}.{key}".lstrip("."), f"a whole number from {low} to {high}")
        return int(value)

    def _nothing_left(self) -> None:
        for table, values in self._tables.items():
            for key in values:
                raise DeployError(f"{self._path}: {f'{table}.{key}'.lstrip('.')} is not a field")

    def _error(self, field: str, what: str) -> DeployError:
        return DeployError(f"{self._path}: {field} must be {what}")
