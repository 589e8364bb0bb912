"""``heimdex-clip sign``: a signed request body, for callers that have only curl."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from heimdex_clip import _request
from heimdex_clip.errors import SettingsError
from heimdex_clip.signing import DEFAULT_KID

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_MAX_LIFETIME_S = 86_400


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's arguments."""
    sign = commands.add_parser(
        "sign",
        allow_abbrev=False,
        help="print a signed request body for curl",
        description="Print a signed request body, ready for curl's --data. The secret is read from the environment"
        " only: an argument would stand in the process list and the shell's history.",
    )
    sign.add_argument("--image-url", required=True, metavar="URL", help="the image to embed")
    sign.add_argument("--request-id", metavar="ID", help="comes back in the reply")
    sign.add_argument("--no-normalize", action="store_true", help="keep the vector's length")
    sign.add_argument("--model", metavar="NAME", help="refuse any other model")
    sign.add_argument("--encoding", choices=("float", "base64"), help="how the vector comes back")
    sign.add_argument(
        "--secret-env",
        metavar="NAME",
        default="EMBEDDING_HMAC_SECRET",
        help="the variable that holds the secret (default: %(default)s)",
    )
    sign.add_argument("--v2", action="store_true", help="sign with v2: all options, audience and expiry")
    sign.add_argument("--aud", metavar="ENDPOINT", help="v2: the endpoint's id")
    sign.add_argument("--kid", metavar="KID", help=f"v2: the secret's name (default: {DEFAULT_KID})")
    sign.add_argument("--lifetime-s", type=int, metavar="SECONDS", help="v2: until it expires (default: 600)")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the body; 0. Raises SettingsError and InvalidRequest."""
    secret = environ.get(arguments.secret_env, "")
    if not secret:
        raise SettingsError(f"{arguments.secret_env} is not set; put the signing secret there")
    fields: dict[str, object] = {"image_url": arguments.image_url}
    if arguments.request_id is not None:
        fields["request_id"] = arguments.request_id
    if arguments.no_normalize:
        fields["normalize"] = False
    for name in ("model", "encoding"):
        if getattr(arguments, name) is not None:
            fields[name] = getattr(arguments, name)
    _request.check(fields)
    lifetime_s = 600 if arguments.lifetime_s is None else arguments.lifetime_s
    signer = _request.Signer(secret, *_scope(arguments, lifetime_s))
    job_input = signer.job_input(fields, now=time.time(), lifetime_s=lifetime_s)
    print(json.dumps({"input": job_input}))
    return 0


def _scope(arguments: argparse.Namespace, lifetime_s: int) -> tuple[str, int, str]:
    """Audience, version and kid."""
    if not arguments.v2:
        given = [name for name in ("aud", "kid", "lifetime_s") if getattr(arguments, name) is not None]
        if given:
            raise SettingsError(f"--{given[0].replace('_', '-')} needs --v2")
        return "", 1, DEFAULT_KID
    if not arguments.aud:
        raise SettingsError("--v2 needs --aud, the endpoint's id")
    if not 0 < lifetime_s <= _MAX_LIFETIME_S:
        raise SettingsError(f"--lifetime-s must be 1 to {_MAX_LIFETIME_S}, not {lifetime_s}")
    return arguments.aud, 2, DEFAULT_KID if arguments.kid is None else arguments.kid
