"""What schemathesis loads beside its own checks: a signature for each body, and a look for faults of our own."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response

from heimdex_clip.signing import sign_v2

SECRET = os.environ.get("SCHEMATHESIS_SIGN_WITH", "")


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, object]) -> None:
    """Make a body of /v1/embed/* the payload of a v2 request that is signed well."""
    if not SECRET or not case.path.startswith("/v1/embed/") or not isinstance(case.body, dict):
        return
    payload = case.body.get("payload")
    if not isinstance(payload, str):
        payload = json.dumps({**case.body, "aud": "local", "exp": int(time.time()) + 60})
    if payload.encode(errors="replace").decode() == payload:
        auth = sign_v2(payload, secret=SECRET)
        case.body = {"payload": payload, "auth": {"v": auth["v"], "kid": auth["kid"], "sig": auth["sig"]}}


@schemathesis.check
def no_fault_of_our_own(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """Neither a traceback nor the code for an error that nobody foresaw."""
    assert b"Traceback" not in response.content
    assert b'"INTERNAL"' not in response.content or case.path == "/openapi.json"
