"""``heimdex-clip smoke``: does the whole way work, and if not, what to check."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from heimdex_clip.errors import SettingsError

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "smoke",
        allow_abbrev=False,
        help="test the whole way from an image in storage to a vector",
        description="Test the configured backend from end to end: an image in Supabase's storage (SUPABASE_URL,"
        " SUPABASE_SERVICE_ROLE_KEY; extra `smoke`), a signed URL, a vector, and every field of the reply.",
    )
    image = parser.add_mutually_exclusive_group()
    image.add_argument("--image-url", metavar="URL", default="", help="an image that is there already")
    image.add_argument("--inline", action="store_true", help="send the test image along, without any storage")
    parser.add_argument("--bucket", metavar="NAME", default="clip-smoke", help="the bucket (default: %(default)s)")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the checklist; 0 only if every line has a tick. Raises nothing but what stops the process."""
    from heimdex_clip import _smoke
    from heimdex_clip._settings import ClientSettings
    from heimdex_clip._smoke_storage import Storage
    from heimdex_clip.client import ClipClient

    # The checklist says it all; without a handler the client's warnings would stand between its lines.
    logging.getLogger("heimdex_clip").addHandler(logging.NullHandler())
    checklist = _smoke.Checklist(lambda line: print(line, flush=True))
    try:
        settings = ClientSettings.read(environ)
        client = ClipClient.from_env(environ)
        if not isinstance(client, ClipClient):
            raise SettingsError("CLIP_INFERENCE_BACKEND is off; there is nothing to test")
        url, key = environ.get("SUPABASE_URL", ""), environ.get("SUPABASE_SERVICE_ROLE_KEY", "")
        stored = not (arguments.image_url or arguments.inline)
        if stored and not (url and key):
            client.close()
            missing = "SUPABASE_SERVICE_ROLE_KEY" if url else "SUPABASE_URL"
            raise SettingsError(f"{missing} is not set; name an image with --image-url, or send one with --inline")
    except SettingsError as error:
        checklist.line("configuration", error.message, holds=False, check="what it names")
        return checklist.verdict()
    plan = _smoke.Plan(
        settings,
        arguments.image_url,
        (lambda: Storage(url, key, arguments.bucket)) if stored else None,
        arguments.bucket,
    )
    with client:
        return _smoke.run(plan, client, checklist)
