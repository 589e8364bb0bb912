"""The published weight file: fetched once, held by the sha256 in its URL, kept in a cache folder."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import tempfile
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from export.checkpoint import sha256_of
from export.progress import Progress
from heimdex_clip.errors import ModelError

_CHUNK_BYTES = 1 << 20


def sha256_in(url: str) -> str:
    """The sha256 that OpenAI's URLs carry as the folder of the file. Raises ModelError where there is none."""
    found = re.search(r"/([0-9a-f]{64})/[^/]+$", url)
    if found is None:
        raise ModelError(f"no sha256 is published in {url}")
    return found[1]


def fetch(
    url: str,
    sha256: str,
    cache: Path,
    progress: Progress,
    *,
    connect_timeout_s: float = 5.0,
    read_timeout_s: float = 15.0,
) -> Path:
    """The file's path in `cache`, downloaded unless one with this hash is there already.

    Gives up after `connect_timeout_s` where there is no network, names not resolving included, and when
    nothing arrives for `read_timeout_s`. Raises ModelError with the reason in one line.
    """
    timeout = httpx.Timeout(read_timeout_s, connect=connect_timeout_s)
    path = cache / sha256 / Path(urlsplit(url).path).name
    if path.is_file() and sha256_of(path) == sha256:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_reachable(url, connect_timeout_s)
        _download(url, sha256, path, timeout, progress)
    except OSError as error:
        raise ModelError(f"cannot write {path} ({error.strerror})") from None
    except httpx.HTTPError as error:
        host = urlsplit(url).hostname
        raise ModelError(f"cannot download {path.name} from {host} ({_reason(error)})") from None
    return path


def _require_reachable(url: str, timeout_s: float) -> None:
    """Raise httpx.ConnectError when no connection comes about in time.

    The client's own limit does not cover the name lookup, which can hang for half a minute without a network.
    """
    if urllib.request.getproxies():
        return
    parts = urlsplit(url)
    outcome: list[OSError | None] = []

    def connect() -> None:
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), timeout=timeout_s).close()
            outcome.append(None)
        except OSError as error:
            outcome.append(error)

    # A daemon: a lookup that hangs must not keep the process.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout_s)
    failure = outcome[0] if outcome else TimeoutError(f"no connection within {timeout_s:g} s")
    if failure is not None:
        raise httpx.ConnectError(failure.strerror or str(failure))


def _download(url: str, sha256: str, path: Path, timeout: httpx.Timeout, progress: Progress) -> None:
    """Stream into a file beside `path`, which gets its name only once the hash holds."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    partial = Path(name)
    digest = hashlib.sha256()
    try:
        with os.fdopen(handle, "wb") as file, httpx.stream("GET", url, timeout=timeout) as response:
            response.raise_for_status()
            total = int(response.headers.get("content-length", 0)) or None
            with progress.transfer(f"downloading {path.name}", total) as advance:
                for chunk in response.iter_bytes(_CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    advance(len(chunk))
        if digest.hexdigest() != sha256:
            raise ModelError(f"{path.name} arrived with sha256 {digest.hexdigest()}, not {sha256}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _reason(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code}"
    return str(error) or type(error).__name__
