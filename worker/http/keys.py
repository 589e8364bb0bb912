"""Bearer keys of the OpenAI-compatible route."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from heimdex_clip.errors import AuthFailed


class ApiKeys:
    """The keys that are accepted; with none, nobody is."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def check(self, authorization: str | None) -> None:
        """Raises AuthFailed unless the header is ``Bearer <one of the keys>``, in constant time per key."""
        if not self._keys:
            raise AuthFailed("This server has no API keys (EMBEDDING_API_KEYS), so it accepts none")
        scheme, _, given = (authorization or "").partition(" ")
        # Headers arrive decoded as latin-1; the bytes are what was sent.
        sent = given.strip().encode("latin-1")
        matches = [hmac.compare_digest(key, sent) for key in self._keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise AuthFailed("The API key is not accepted")
