"""HTML pages that lie beside this module: one file each, with their own style and script, nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    """A page and the headers to send with it."""

    html: str
    headers: Mapping[str, str] = field(default_factory=dict)


def read_page(name: str, values: Mapping[str, str] | None = None) -> Page:
    """A page with ``{{NAME}}`` replaced by HTML, under a policy that allows its own style and script by hash."""
    html = Path(__file__).with_name(name).read_text()
    for key, value in (values or {}).items():
        html = html.replace("{{" + key + "}}", value)
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    policy = (
        "default-src 'none'",
        "script-src " + (" ".join(hashes["script"]) or "'none'"),
        "style-src " + (" ".join(hashes["style"]) or "'none'"),
        "connect-src 'self'",
        "img-src blob: data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return Page(
        html,
        {
            "Content-Security-Policy": "; ".join(policy),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        },
    )
