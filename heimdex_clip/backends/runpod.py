"""RunPod's queue: signed jobs, retried and resubmitted under one deadline (see `_exchange`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from heimdex_clip import _request
from heimdex_clip._envelope import http_failure
from heimdex_clip._exchange import Call, Exchange, Job, Steps, Target, run_job
from heimdex_clip.backends import checks, replies
from heimdex_clip.contract import Embedding, Source
from heimdex_clip.errors import ClipError, InvalidRequest, SettingsError
from heimdex_clip.results import Health, Info, parse_info, parse_json_object
from heimdex_clip.signing import DEFAULT_KID, sign_v2

_HEALTH_TIMEOUT_S = 10.0
_V1_WINDOW_S = 120  # the worker's default; a v1 job that waited longer would only be refused
_STANDING_BY = ("idle", "ready", "running")


@dataclass(frozen=True, slots=True)
class RunPod:
    """Where to send, how to sign, how long to try. `repr` shows no secret."""

    target: Target
    signer: _request.Signer = field(repr=False)
    timeout_s: float
    attempt_timeout_s: float
    clock: Callable[[], float]
    spread: Callable[[float], float]
    name: str = "runpod"
    label: str = "RunPod"

    @classmethod
    def checked(
        cls,
        endpoint_id: str,
        secret: str,
        *,
        api_key: str,
        kid: str | None,
        base_url: str,
        timeout_s: float,
        attempt_timeout_s: float,
        auth_version: int,
        clock: Callable[[], float],
        spread: Callable[[float], float],
    ) -> Self:
        """Check every value. Raises SettingsError, which never quotes a key or secret."""
        checks.endpoint_id(endpoint_id)
        headers = {"Authorization": f"Bearer {checks.header_value('api_key', api_key)}"}
        if auth_version not in (1, 2):
            raise SettingsError(f"auth_version must be 1 or 2, not {auth_version!r}")
        checks.seconds("timeout_s", timeout_s)
        checks.seconds("attempt_timeout_s", attempt_timeout_s)
        signer = _request.Signer(secret, endpoint_id, auth_version, DEFAULT_KID if kid is None else kid)
        sign_v2("", secret=signer.secret, kid=signer.kid)  # refuses what cannot sign, now rather than at the first call
        target = Target(f"{checks.base_url('base_url', base_url)}/{endpoint_id}", headers)
        return cls(target, signer, timeout_s, attempt_timeout_s, clock, spread)

    def embed(self, source: Source, request_id: str, *, normalize: bool) -> Steps[Embedding]:
        """See `Backend.embed`."""
        # A quarter of the bytes, and exact. v1's older workers may not know it.
        encoding = "base64" if self.signer.version == 2 else "float"
        fields = replies.one_request(source, request_id, normalize=normalize, encoding=encoding)
        return replies.read_one((yield from self._job(fields)), request_id, normalize=normalize)

    def embed_batch(
        self, sources: Sequence[Source], request_ids: Sequence[str], *, normalize: bool
    ) -> Steps[list[Embedding | ClipError]]:
        """See `Backend.embed_batch`; needs v2."""
        replies.require_batches(self.signer.version)
        fields, items = replies.batch_request(sources, request_ids, normalize=normalize)
        return replies.read_batch((yield from self._job(fields, items)), request_ids, normalize=normalize)

    def info(self) -> Steps[Info]:
        """As a job, so it waits for a worker; needs v2."""
        if self.signer.version == 1:
            raise InvalidRequest("info needs auth_version=2")
        return parse_info((yield from self._job({"op": "info"})), backend=self.name)

    def health(self) -> Steps[Health]:
        """The platform's count of workers and jobs; starts no worker."""
        answer = yield Call("GET", "/health", None, min(self.timeout_s, _HEALTH_TIMEOUT_S), self.target)
        if answer is None:
            raise TypeError("every Call must be answered")
        if error := http_failure(answer):
            raise error
        detail = parse_json_object(answer.body, "the platform's health")
        workers = detail.get("workers")
        counts = [workers.get(state) for state in _STANDING_BY] if isinstance(workers, dict) else []
        return Health(self.name, ready=any(type(count) is int and count > 0 for count in counts), detail=detail)

    def _job(self, fields: Mapping[str, object], items: Sequence[object] = ()) -> Exchange:
        def build(ttl_s: float, execution_timeout_s: float) -> bytes:
            body = _request.job_body(
                self.signer,
                fields,
                now=time.time(),
                ttl_s=min(ttl_s, _V1_WINDOW_S) if self.signer.version == 1 else ttl_s,
                execution_timeout_s=execution_timeout_s,
            )
            _request.check_size(body, items)
            return body

        return run_job(Job(build, self.timeout_s, self.attempt_timeout_s, self.clock, self.spread, self.target))
