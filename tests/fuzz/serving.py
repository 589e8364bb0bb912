"""The service behind the doors, real but for its model's size and its reach: nothing here leaves loopback."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

from yarl import URL

from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.errors import DownloadFailed
from heimdex_clip.signing import sign_v1
from worker import addresses, log, policies
from worker.authentication import Authenticator
from worker.download import Downloader, Reserve
from worker.observer import Observer
from worker.service import EmbeddingService
from worker.settings import Settings, read

NOW = 1_767_225_600
SECRET = "fuzz-secret-0123456789"
KEY = "fuzz-key-0123456789"
SIGNED = {"EMBEDDING_HMAC_SECRET": SECRET, "EMBEDDING_API_KEYS": KEY, "MAX_BATCH_ITEMS": "16"}
UNSIGNED = {"ALLOW_INSECURE_AUTH": "1", "EMBEDDING_API_KEYS": KEY, "MAX_BATCH_ITEMS": "16"}


class LoopbackDownloader(Downloader):
    """Judges every URL, and then goes no further than to a closed port of this machine."""

    async def fetch(self, url: str, *, reserve: Reserve | None = None) -> bytes:
        target = addresses.check_url(url, allowed_ports=range(65536), allowed_private=())
        if target.host is None:
            raise DownloadFailed("no host")
        return await super().fetch(str(URL("http://127.0.0.1:1/")), reserve=reserve)


def open_tiny(model: Path) -> Encoder:
    """The encoder of the miniature model, both towers loaded."""
    encoder = open_encoder(model, runtime="cpu")
    encoder.load_text()
    return encoder


def new_settings(environment: dict[str, str]) -> Settings:
    return read(
        {
            **environment,
            "ALLOWED_PRIVATE_CIDRS": "127.0.0.0/8",
            "ALLOWED_IMAGE_PORTS": "1",
            "MAX_IMAGE_PIXELS": "1000000",
        }
    )


def new_service(encoder: Encoder, settings: Settings, observer: Observer | None = None) -> EmbeddingService:
    """A service whose clock stands still; call it inside the loop that it will serve."""
    return EmbeddingService(
        encoder,
        settings,
        Authenticator(policies.auth_policy(settings), clock=lambda: NOW),
        LoopbackDownloader(policies.download_policy(settings)),
        observer,
    )


class Logged:
    """What the service logs, held to its form after every input."""

    def __init__(self) -> None:
        log.configure("INFO")
        self._text = io.StringIO()
        logger = logging.getLogger("heimdex_clip.worker")
        handler = logging.StreamHandler(self._text)
        handler.setFormatter(log.JsonFormatter())
        logger.handlers[:] = [handler]
        logging.raiseExceptions = True

    def check(self) -> None:
        """One JSON object a line, no traceback and no secret; then forget it."""
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        assert "Traceback" not in text
        assert SECRET not in text
        assert KEY not in text
        for line in text.split("\n"):
            assert not line or isinstance(json.loads(line), dict)


def signed_in_place(value: object) -> object:
    """`value` with each ``"auth": "v1"`` beside an image's URL replaced by a signature that holds."""
    if isinstance(value, list):
        return [signed_in_place(one) for one in value]
    if not isinstance(value, dict):
        return value
    url = value.get("image_url")
    if value.get("auth") == "v1" and isinstance(url, str):
        encodable = url.encode(errors="replace").decode() == url
        return {**value, "auth": sign_v1(url, secret=SECRET, ts=NOW) if encodable else {}}
    return {name: signed_in_place(one) for name, one in value.items()}


def addressed(text: str) -> str:
    """An object's JSON text with a good `aud` and `exp` put before its own fields."""
    inner = text.lstrip()[1:]
    comma = "" if inner.lstrip().startswith("}") else ", "
    return f'{{"aud": "local", "exp": {NOW + 60}{comma}{inner}'
