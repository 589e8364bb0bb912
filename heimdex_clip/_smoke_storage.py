"""One object in Supabase's storage, by its official client (extra `smoke`): put, signed, removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import httpx

from heimdex_clip.backends import checks
from heimdex_clip.contract import one_line
from heimdex_clip.errors import ClipError, SettingsError

T = TypeVar("T")
_TIMEOUT_S = 30.0
_LIFETIME_S = 900  # of the signed URL: a cold start may come before the download


class StorageFailed(ClipError):
    """The storage refused or could not be reached."""

    code = "STORAGE"


class Storage:
    """One bucket of one project. `key` is the service role's. Raises SettingsError for what cannot be used."""

    def __init__(self, url: str, key: str, bucket: str) -> None:
        try:
            from storage3 import SyncStorageClient
        except ImportError:
            raise SettingsError("the storage client is not installed; install heimdex-clip[smoke]") from None
        key = checks.header_value("SUPABASE_SERVICE_ROLE_KEY", key)
        # Its own client would speak HTTP/2, whose packages log headers, keys included.
        self._http = httpx.Client(timeout=_TIMEOUT_S)
        headers = {"apikey": key, "Authorization": f"Bearer {key}"}
        base_url = checks.base_url("SUPABASE_URL", url) + "/storage/v1/"
        self._bucket = SyncStorageClient(base_url, headers, http_client=self._http).from_(bucket)

    def put(self, path: str, data: bytes) -> str:
        """Upload a PNG and sign a URL for it, good for 15 minutes. Raises StorageFailed."""
        _told(lambda: self._bucket.upload(path, data, {"content-type": "image/png"}))
        signed = _told(lambda: self._bucket.create_signed_url(path, _LIFETIME_S))["signedURL"]
        if not signed:
            raise StorageFailed("the storage signed no URL")
        return signed

    def remove(self, path: str) -> None:
        """Raises StorageFailed, also when nothing was there."""
        if not _told(lambda: self._bucket.remove([path])):
            raise StorageFailed("the storage removed nothing")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _told(ask: Callable[[], T]) -> T:
    from storage3.utils import StorageException

    try:
        return ask()
    except httpx.HTTPError as error:
        raise StorageFailed(f"the storage cannot be reached ({type(error).__name__})") from None
    except StorageException as error:
        status, message = getattr(error, "status", "?"), getattr(error, "message", "")
        raise StorageFailed(f"the storage answered {status}: {one_line(message)[:120] or 'no reason given'}") from None
    # What is not the API's form (a proxy's page) surfaces as the parser's error.
    except (ValueError, KeyError, TypeError) as error:
        raise StorageFailed(f"the storage's answer is not of its API ({type(error).__name__})") from None
