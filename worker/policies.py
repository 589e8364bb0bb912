"""From settings to the rules of both guards: who may ask, and what may be downloaded."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass

from heimdex_clip.addresses import Network
from heimdex_clip.errors import SettingsError
from heimdex_clip.signing import parse_keys
from worker import log
from worker.authentication import AuthPolicy
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class DownloadPolicy:
    """What may be downloaded, and how much it may cost.

    `timeout_s` covers look-ups, connections, redirects and the body. `allowed_private` are networks that may
    be downloaded from although they are not public. `allowed_hosts`, as `addresses.parse_host` gives them, are all
    that URLs may name; none allow every host. `max_connections` are open at once, to any hosts.
    """

    max_bytes: int
    timeout_s: float
    allowed_ports: frozenset[int]
    allowed_private: tuple[Network, ...]
    max_connections: int
    max_redirects: int = 3
    allowed_hosts: tuple[str, ...] = ()


def auth_policy(settings: Settings) -> AuthPolicy:
    """Who may ask. Raises SettingsError without a secret, unless ALLOW_INSECURE_AUTH=1, which is logged."""
    keys = parse_keys(settings.hmac_secrets, settings.hmac_secret)
    if not keys and not settings.allow_insecure_auth:
        raise SettingsError(
            "EMBEDDING_HMAC_SECRET is not set, so nobody could be told from anybody; make one with"
            " `openssl rand -hex 32` and give it to the callers too (ALLOW_INSECURE_AUTH=1 only for experiments)"
        )
    if settings.allow_insecure_auth:
        log.warning(
            "insecure_auth",
            warning="ALLOW_INSECURE_AUTH=1: " + ("unsigned requests are accepted" if not keys else "has no effect"),
        )
    return AuthPolicy(
        keys=keys,
        window_s=settings.auth_window_s,
        audience=settings.audience,
        accept_v1=settings.auth_accept_v1,
        insecure=not keys,
    )


def download_policy(settings: Settings) -> DownloadPolicy:
    """What may be downloaded; anything wider or narrower than the default is logged, a wider rule as a warning."""
    default = Settings()
    wider = settings.allowed_private or settings.allowed_ports - default.allowed_ports
    if wider or settings.allowed_hosts or settings.allowed_ports != default.allowed_ports:
        log_rules = log.warning if wider else log.event
        log_rules(
            "downloads_widened" if wider else "downloads_narrowed",
            ALLOWED_IMAGE_HOSTS=list(settings.allowed_hosts),
            ALLOWED_PRIVATE_CIDRS=[str(network) for network in settings.allowed_private],
            ALLOWED_IMAGE_PORTS=sorted(settings.allowed_ports),
        )
    return DownloadPolicy(
        max_bytes=settings.max_image_bytes,
        timeout_s=settings.download_timeout_s,
        allowed_ports=settings.allowed_ports,
        allowed_private=settings.allowed_private,
        allowed_hosts=settings.allowed_hosts,
        max_connections=min(settings.max_inflight_items, _descriptors_for_downloads()),
    )


def _descriptors_for_downloads() -> int:
    """A quarter of the open files that this process may have: the SDK needs one for each result that it sends."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, most // 4) if most > 0 else sys.maxsize
