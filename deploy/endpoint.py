"""The endpoint's life: found by name, brought to what the file says, moved to another image, taken down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy import api, desired
from deploy.api import Api
from deploy.config import EndpointConfig, checked_digest
from deploy.errors import DeployError

Endpoint = Mapping[str, Any]

# Fields of a release that name the image; the first is what the platform's description shows.
_IMAGE_FIELDS = ("template.imageName", "imageName", "image")
# An API of before v2 switched FlashBoot on by this ending of the name.
_OLD_FLASHBOOT_ENDING = " -fb"


def find(client: Api, name: str) -> Endpoint | None:
    """The endpoint of this name, or None. Raises DeployError when several have it."""
    found = [
        endpoint
        for endpoint in api.rows(client.send(api.list_endpoints()), "endpoints")
        if endpoint.get("name") in (name, name + _OLD_FLASHBOOT_ENDING)
    ]
    if len(found) > 1:
        ids = ", ".join(str(endpoint.get("id")) for endpoint in found)
        raise DeployError(f"several endpoints are named {name!r} ({ids}); rename or delete all but one")
    return found[0] if found else None


def must_find(client: Api, name: str) -> Endpoint:
    """As `find`, but raises DeployError when there is none."""
    endpoint = find(client, name)
    if endpoint is None:
        raise DeployError(f"no endpoint is named {name!r}; make it with: python -m deploy up --digest sha256:...")
    return endpoint


def image_for(config: EndpointConfig, digest: str | None, live: Endpoint | None) -> str:
    """The image that `up` should run: the digest given, else the file's, else the one that runs.

    The last keeps `up` from undoing an `update`. Raises DeployError when there is none.
    """
    if digest:
        return f"{config.repository}@{checked_digest(digest)}"
    if config.digest:
        return f"{config.repository}@{config.digest}"
    running = str(live.get("image", "")) if live else ""
    if running.startswith(f"{config.repository}@"):
        return running
    raise DeployError("which image? give --digest sha256:..., as the push printed it")


def previous_image(client: Api, live: Endpoint) -> str:
    """The image that ran before the present one, by the platform's own history of releases.

    Raises DeployError when the history does not name one by digest.
    """
    current = str(live.get("image", ""))
    for release in api.rows(client.send(api.list_releases(str(live["id"]))), "releases"):
        for entry in api.rows(release, "diff"):
            before, after = entry.get("old"), entry.get("new")
            if entry.get("field") in _IMAGE_FIELDS and after == current and isinstance(before, str) and before:
                if "@sha256:" not in before:
                    raise DeployError(f"the image before was {before}, which names no digest; give --to sha256:...")
                return before
    raise DeployError(f"the endpoint's releases name no image before {current}; give --to sha256:...")


def image_to_go_back_to(config: EndpointConfig, client: Api, live: Endpoint, to: str | None) -> str:
    """The image of `rollback`: the digest given, else the one that ran before."""
    return f"{config.repository}@{checked_digest(to)}" if to else previous_image(client, live)


def dry_up(config: EndpointConfig, image: str) -> list[api.Request]:
    """The requests of `up` where nothing may be asked: the search, then the creation, secrets masked."""
    hidden = dict.fromkeys(config.secrets, desired.HIDDEN)
    wanted = desired.masked(desired.body(config, image, hidden), config.env)
    return [api.list_endpoints(), api.create_endpoint(wanted)]
