"""Signed CLIP embeddings from a RunPod endpoint: the client, the contract and the encoder.

Importing this package is cheap: the clients, which need httpx, are imported when first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from heimdex_clip.errors import ClipError
from heimdex_clip.signing import sign_v1, sign_v2

if TYPE_CHECKING:
    from heimdex_clip.client import AsyncClipClient, ClipClient
    from heimdex_clip.contract import Embedding

__all__ = ["AsyncClipClient", "ClipClient", "ClipError", "Embedding", "sign_v1", "sign_v2"]

_LAZY = {
    "AsyncClipClient": "heimdex_clip.client",
    "ClipClient": "heimdex_clip.client",
    "Embedding": "heimdex_clip.contract",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
