"""Signed CLIP embeddings from a RunPod endpoint: the client, the contract and the encoder.

Importing this package is cheap: the clients, which need httpx, are imported when first asked for,
and httpx itself when one is made.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from heimdex_clip.errors import ClipError
from heimdex_clip.signing import sign_v1, sign_v2

if TYPE_CHECKING:
    from heimdex_clip.client import AsyncClipClient, ClipClient
    from heimdex_clip.contract import Embedding
    from heimdex_clip.results import Disabled, Health, Info

__all__ = [
    "AsyncClipClient",
    "ClipClient",
    "ClipError",
    "Disabled",
    "Embedding",
    "Health",
    "Info",
    "sign_v1",
    "sign_v2",
]

_LAZY = {
    "AsyncClipClient": "heimdex_clip.client",
    "ClipClient": "heimdex_clip.client",
    "Disabled": "heimdex_clip.results",
    "Embedding": "heimdex_clip.contract",
    "Health": "heimdex_clip.results",
    "Info": "heimdex_clip.results",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
