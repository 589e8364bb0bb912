"""Bringing a model folder here: from a directory or a URL, every file held to the manifest, in place at once or not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from heimdex_clip.backends import checks
from heimdex_clip.encoder import manifest
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.errors import ModelError

if TYPE_CHECKING:
    import httpx

_MAX_MANIFEST_BYTES = 1 << 20
_TIMEOUT_S = 30.0  # without a byte; a model takes as long as it takes


class _Source(Protocol):
    def bring(self, name: str, to: Path, max_bytes: int) -> None:
        """Copy one file. Raises ModelError."""


def fetch(source: str, to: Path | None, *, manifest_sha256: str, say: Callable[[str], None]) -> tuple[Path, Manifest]:
    """Bring the folder at `source` to `to` (None: ``models/<model>-<pretrained>``); returns where, and its manifest.

    `manifest_sha256`, when given, is what manifest.json must hash to: the hashes inside it prove no more than that
    the files belong to it. A folder that is there already and whole is left alone; any other is replaced. Nothing
    appears under the name before every hash holds. Raises ModelError and SettingsError.
    """
    try:
        with _opened(source) as files, _staging(to) as staging:
            files.bring(manifest.FILE_NAME, staging / manifest.FILE_NAME, _MAX_MANIFEST_BYTES)
            model = manifest.load(staging, expected_sha256=manifest_sha256)
            target = to or Path("models") / f"{model.model}-{model.pretrained}"
            if _is_whole(target, model):
                say(f"{target} is there already, and whole")
                return target, model
            for name, entry in sorted(model.files.items()):
                say(f"{name} ({entry.bytes / 1e6:.1f} MB)")
                (staging / name).parent.mkdir(parents=True, exist_ok=True)
                files.bring(name, staging / name, entry.bytes)
                manifest.check_file(staging, name, entry)
            _put(staging, target)
    except OSError as error:
        raise ModelError(f"cannot write the model folder ({error.strerror}: {error.filename})") from None
    return target, model


@contextmanager
def _staging(to: Path | None) -> Iterator[Path]:
    """An empty folder on the disk of the target, gone at the end unless it was renamed."""
    parent = to.absolute().parent if to is not None else Path("models").absolute()
    parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=parent, prefix=".fetching-"))
    try:
        staging.chmod(0o755)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_whole(target: Path, model: Manifest) -> bool:
    try:
        if manifest.load(target) != model:
            return False
        for name, entry in model.files.items():
            manifest.check_file(target, name, entry)
    except ModelError:
        return False
    return True


def _put(staging: Path, target: Path) -> None:
    """Rename into place. A folder that is there already steps aside first, and comes back if that fails."""
    target = target.absolute()
    aside = staging.with_name(f"{staging.name}.old")
    replaced = target.exists()
    if replaced:
        target.rename(aside)
    try:
        staging.rename(target)
    except OSError:
        if replaced:
            aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _opened(source: str) -> Iterator[_Source]:
    if "://" not in source:
        yield _Directory(Path(source))
        return
    import httpx

    with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True) as client:
        yield _Web(checks.base_url("SOURCE", source), client)


class _Directory:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def bring(self, name: str, to: Path, max_bytes: int) -> None:
        path = self._folder / name
        try:
            if path.stat().st_size > max_bytes:
                raise ModelError(f"{path} is larger than {max_bytes} bytes")
            shutil.copyfile(path, to)
        except OSError as error:
            raise ModelError(f"cannot read {path} ({error.strerror})") from None


class _Web:
    def __init__(self, url: str, client: httpx.Client) -> None:
        self._url = url
        self._client = client

    def bring(self, name: str, to: Path, max_bytes: int) -> None:
        import httpx

        url = f"{self._url}/{name}"
        try:
            with to.open("wb") as file, self._client.stream("GET", url) as response:
                if response.status_code != 200:
                    raise ModelError(f"cannot download {url} (HTTP {response.status_code})")
                for part in response.iter_bytes(1 << 20):
                    file.write(part)
                    if file.tell() > max_bytes:
                        raise ModelError(f"{url} is larger than {max_bytes} bytes")
        except httpx.HTTPError as error:
            raise ModelError(f"cannot download {url} ({type(error).__name__})") from None
