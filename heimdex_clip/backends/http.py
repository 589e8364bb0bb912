"""The worker's HTTP door: the same signed bodies, retried under one deadline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from heimdex_clip import _request
from heimdex_clip._envelope import Answer
from heimdex_clip._exchange import Call, Pause, Steps, Target
from heimdex_clip._retries import Retries
from heimdex_clip.backends import checks, replies
from heimdex_clip.contract import Embedding, Source, Text, error_from_reply
from heimdex_clip.errors import (
    BadReply,
    ClipError,
    DeadlineExceeded,
    EndpointUnauthorized,
    EndpointUnavailable,
    Overloaded,
)
from heimdex_clip.results import Health, Info, parse_info, parse_json_object
from heimdex_clip.signing import DEFAULT_KID, sign_v2

_MAX_BODY_BYTES = 20 << 20  # what the door takes
_HEALTH_TIMEOUT_S = 10.0
_SKEW_S = 60  # how far the server's clock may be ahead of ours
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Http:
    """Where to send, how to sign, how long to try. `repr` shows no secret."""

    target: Target
    signer: _request.Signer = field(repr=False)
    timeout_s: float
    attempt_timeout_s: float
    clock: Callable[[], float]
    spread: Callable[[float], float]
    name: str = "http"
    label: str = "HTTP"

    @classmethod
    def checked(
        cls,
        url: str,
        secret: str,
        *,
        audience: str,
        kid: str | None,
        timeout_s: float,
        attempt_timeout_s: float,
        clock: Callable[[], float],
        spread: Callable[[float], float],
    ) -> Self:
        """Check every value. Raises SettingsError, which never quotes a secret."""
        target = Target(checks.base_url("CLIP_HTTP_URL", url))
        checks.seconds("timeout_s", timeout_s)
        checks.seconds("attempt_timeout_s", attempt_timeout_s)
        signer = _request.Signer(secret, audience, 2, DEFAULT_KID if kid is None else kid)
        sign_v2("", secret=signer.secret, kid=signer.kid)
        return cls(target, signer, timeout_s, attempt_timeout_s, clock, spread)

    def embed(self, source: Source, request_id: str, *, normalize: bool) -> Steps[Embedding]:
        """See `Backend.embed`."""
        fields = replies.one_request(source, request_id, normalize=normalize, encoding="base64")
        route = "/v1/embed/text" if isinstance(source, Text) else "/v1/embed/image"
        return replies.read_one((yield from self._ask(route, fields)), request_id, normalize=normalize)

    def embed_batch(
        self, sources: Sequence[Source], request_ids: Sequence[str], *, normalize: bool
    ) -> Steps[list[Embedding | ClipError]]:
        """See `Backend.embed_batch`."""
        fields, items = replies.batch_request(sources, request_ids, normalize=normalize)
        reply = yield from self._ask("/v1/embed/image-batch", fields, items)
        return replies.read_batch(reply, request_ids, normalize=normalize)

    def info(self) -> Steps[Info]:
        """From /health. Raises Overloaded while the model is loading."""
        health = yield from self.health()
        if not health.ready:
            raise Overloaded(f"the server is {health.detail.get('state')!a}")
        return parse_info(health.detail, backend=self.name)

    def health(self) -> Steps[Health]:
        """The server's own account; `ready` when its state is."""
        timeout_s = min(self.timeout_s, _HEALTH_TIMEOUT_S)
        answer = _answered((yield Call("GET", "/health", None, timeout_s, self.target)))
        if answer.status != 200:
            raise _failure(answer)
        detail = parse_json_object(answer.body, "the server's health")
        return Health(self.name, ready=detail.get("state") == "ready", detail=detail)

    def _ask(
        self, route: str, fields: Mapping[str, object], items: Sequence[object] = ()
    ) -> Steps[Mapping[str, object]]:
        """The reply's fields, asked for until the deadline; signed anew each time, under the same request_id."""
        deadline = self.clock() + self.timeout_s
        pause_s = _FIRST_PAUSE_S
        retries = Retries()
        while True:
            left_s = deadline - self.clock()
            lifetime_s = math.ceil(left_s) + _SKEW_S
            body = _request.to_json(self.signer.job_input(fields, now=time.time(), lifetime_s=lifetime_s))
            _request.check_size(body, items, max_bytes=_MAX_BODY_BYTES)
            answer = _answered((yield Call("POST", route, body, min(left_s, self.attempt_timeout_s), self.target)))
            error: ClipError
            try:
                if answer.status == 200:
                    return parse_json_object(answer.body, "the server's reply")
                error = _failure(answer)
            except BadReply as unreadable:
                error = unreadable
            wait_s = answer.retry_after_s + self.spread(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)
            if answer.fault.endswith("Timeout") and self.clock() >= deadline:
                # The last attempt had what time was left; the one before it says what is wrong.
                raise retries.last or DeadlineExceeded(f"no answer within {self.timeout_s:g} s")
            if not retries.cures(error) or self.clock() + wait_s >= deadline:
                raise error
            yield Pause(wait_s)


def _answered(answer: Answer | None) -> Answer:
    if answer is None:
        raise TypeError("every Call must be answered")
    return answer


def _failure(answer: Answer) -> ClipError:
    """The worker's error by its class, or what went wrong before it: a proxy, or no answer at all."""
    if answer.status is None:
        return EndpointUnavailable(f"the server cannot be reached ({answer.fault})")
    try:
        reply = parse_json_object(answer.body, "the server's reply")
    except BadReply:
        reply = {}
    if isinstance(reply.get("code"), str):
        return error_from_reply(reply)
    if answer.status in (401, 403):
        return EndpointUnauthorized(f"something before the server refused the request (HTTP {answer.status})")
    passing = answer.status in (408, 425, 429) or answer.status >= 500
    return EndpointUnavailable(f"the server answered HTTP {answer.status}", retryable=passing)
