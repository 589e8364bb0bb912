"""Which failures another attempt may cure: one rule for every backend that asks a worker elsewhere."""

from __future__ import annotations

from heimdex_clip.errors import (
    AuthExpired,
    BadReply,
    ClipError,
    EndpointUnavailable,
    InferenceFailed,
    Internal,
    Overloaded,
)

MAX_FAULTS = 2
"""Of a worker's own, or answers out of form, that one request is tried again after."""


class Retries:
    """What one request has met so far."""

    def __init__(self) -> None:
        self._expired = 0
        self._faults = 0
        self.last: ClipError | None = None
        """The last one; None before any attempt has failed."""

    def cures(self, error: ClipError) -> bool:
        """Whether another attempt may cure `error`; to be asked once for each failed attempt."""
        self.last = error
        if isinstance(error, AuthExpired):
            # Once: it waited too long in the queue. Twice: the clocks differ.
            self._expired += 1
            return error.retryable and self._expired == 1
        if isinstance(error, InferenceFailed | Internal):
            # A worker that lost its device ends, and another does better; an input that no worker can encode
            # must not be tried until the deadline.
            self._faults += 1
            return error.retryable and self._faults <= MAX_FAULTS
        if isinstance(error, BadReply):
            # A proxy's page in between passes; a wrong address stays wrong.
            self._faults += 1
            return self._faults <= MAX_FAULTS
        return error.retryable and isinstance(error, EndpointUnavailable | Overloaded)
