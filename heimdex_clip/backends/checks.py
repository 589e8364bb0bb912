"""What backends check of their settings. Each raises SettingsError, which never quotes a key or secret."""

from __future__ import annotations

import math
import re
from urllib.parse import urlsplit

from heimdex_clip.errors import SettingsError

MAX_TIMEOUT_S = 3600.0


def seconds(name: str, value: float) -> float:
    """A finite time above 0, at most an hour."""
    if not (math.isfinite(value) and 0 < value <= MAX_TIMEOUT_S):
        raise SettingsError(f"{name} must be above 0 and at most {MAX_TIMEOUT_S:g}, not {value!r}")
    return value


def base_url(name: str, value: str) -> str:
    """An http or https URL to append paths to."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        _ = parts.port  # raises ValueError when it is none
    except ValueError:
        usable = False
    if not usable or not value.isascii() or not value.isprintable() or "@" in value:
        raise SettingsError(f"{name} must be an http or https URL without user, query and fragment")
    return value.rstrip("/")


def header_value(name: str, value: str) -> str:
    """Fit for a header: anything else would surface as an error that quotes it, and it is a key."""
    if not re.fullmatch(r"[\x21-\x7e]+", value, re.ASCII):
        raise SettingsError(f"{name} must be printable ASCII without spaces, and not empty")
    return value


def endpoint_id(value: str) -> str:
    """Fit for a URL's path."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value, re.ASCII):
        raise SettingsError(f"endpoint_id {value!r} must be letters, digits, _ and -")
    return value
