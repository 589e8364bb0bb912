"""Every error of the product, each with a stable wire code and whether a retry can help.

::

    ClipError
    ├── AuthFailed          AUTH_FAILED          the signature does not hold
    ├── AuthExpired         AUTH_EXPIRED         it held once; sign again          (retryable)
    ├── InvalidRequest      INVALID_REQUEST      not a request this worker knows
    ├── ModelMismatch       MODEL_MISMATCH       another model was asked for
    ├── UrlRefused          URL_REFUSED          scheme, port or address not allowed
    ├── DownloadFailed      DOWNLOAD_FAILED      the image's server did not deliver (retryable unless 4xx)
    ├── DownloadTimeout     DOWNLOAD_TIMEOUT     ... in time                       (retryable)
    ├── ImageTooLarge       IMAGE_TOO_LARGE      bytes or pixels over the limit
    ├── ImageInvalid        IMAGE_INVALID        not an image we decode
    ├── InferenceFailed     INFERENCE_FAILED     the model gave no usable vector   (retryable)
    ├── Overloaded          OVERLOADED           no room in the queue, or draining (retryable)
    ├── DeadlineExceeded    DEADLINE_EXCEEDED    no answer in time                 (retryable)
    ├── Internal            INTERNAL             a fault of ours                   (retryable)
    ├── DigestMismatch      DIGEST_MISMATCH      a vector of another model than EXPECTED_MODEL_DIGEST
    ├── EndpointError                            the way to the worker failed, no worker answered
    │   ├── EndpointUnauthorized   ENDPOINT_UNAUTHORIZED   the platform refused the API key
    │   ├── EndpointUnavailable    ENDPOINT_UNAVAILABLE    unreachable, 429, 5xx, job lost (retryable)
    │   └── BadReply               BAD_REPLY               an answer that is not in the contract
    └── SetupError                               this process cannot start as configured
        ├── SettingsError          SETTINGS                a variable or argument has a bad value
        ├── ModelError             MODEL                   the model folder is missing, altered or unfit
        └── LaneUnavailable        LANE_UNAVAILABLE        the runtime asked for cannot run here

The first thirteen travel over the wire (`WIRE_ERRORS`); the others never leave their process.
"""

from __future__ import annotations

from typing import ClassVar


class ClipError(Exception):
    """Base of all. `str(error)` is one plain line without secrets; `code` and `retryable` are stable.

    `retryable` says that the same request, signed anew, may succeed; an instance may override its class.
    """

    code: ClassVar[str] = "INTERNAL"
    retryable: bool = False

    def __init__(self, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        if retryable is not None:
            self.retryable = retryable


class AuthFailed(ClipError):
    """The signature does not hold. The message never says which part, so that it teaches nothing."""

    code = "AUTH_FAILED"

    def __init__(self, message: str = "Authentication failed", *, retryable: bool | None = None) -> None:
        super().__init__(message, retryable=retryable)


class AuthExpired(ClipError):
    """The signature holds, but its time has passed."""

    code = "AUTH_EXPIRED"
    retryable = True


class InvalidRequest(ClipError):
    """The request is not of the contract's form."""

    code = "INVALID_REQUEST"


class ModelMismatch(ClipError):
    """The request names a model that this worker does not serve."""

    code = "MODEL_MISMATCH"


class UrlRefused(ClipError):
    """The image URL's scheme, port, host or any address it leads to is not allowed."""

    code = "URL_REFUSED"


class DownloadFailed(ClipError):
    """The image could not be fetched. Not retryable when its server said that it never will be."""

    code = "DOWNLOAD_FAILED"
    retryable = True


class DownloadTimeout(ClipError):
    """The image's server did not deliver it in time."""

    code = "DOWNLOAD_TIMEOUT"
    retryable = True


class ImageTooLarge(ClipError):
    """The image has more bytes or pixels than the worker takes."""

    code = "IMAGE_TOO_LARGE"


class ImageInvalid(ClipError):
    """The bytes are not an image in an accepted format, or a broken one."""

    code = "IMAGE_INVALID"


class InferenceFailed(ClipError):
    """The encoder raised, or its vector is not finite or has norm 0."""

    code = "INFERENCE_FAILED"
    retryable = True


class Overloaded(ClipError):
    """The worker has no room, or is shutting down."""

    code = "OVERLOADED"
    retryable = True


class DeadlineExceeded(ClipError):
    """The job's deadline passed before it was answered."""

    code = "DEADLINE_EXCEEDED"
    retryable = True


class Internal(ClipError):
    """A fault of the worker's own; its log has the cause."""

    code = "INTERNAL"
    retryable = True


class DigestMismatch(ClipError):
    """The vector came from another model than the caller expects: it must not enter the caller's index."""

    code = "DIGEST_MISMATCH"


class EndpointError(ClipError):
    """The way to the worker failed: nothing is known of the request's fate but that no worker answered."""


class EndpointUnauthorized(EndpointError):
    """The platform (not the worker) refused the API key."""

    code = "ENDPOINT_UNAUTHORIZED"


class EndpointUnavailable(EndpointError):
    """The platform or the worker could not be reached, is overloaded, or lost the job."""

    code = "ENDPOINT_UNAVAILABLE"
    retryable = True


class BadReply(EndpointError):
    """The answer is not in the contract's form."""

    code = "BAD_REPLY"


class SetupError(ClipError):
    """This process cannot start as it is configured; the message says what to change."""

    code = "SETUP"


class SettingsError(SetupError):
    """A variable or argument has a bad value; the message names it, the value and what it takes."""

    code = "SETTINGS"


class ModelError(SetupError):
    """The model folder is missing, incomplete, altered or unfit for this use."""

    code = "MODEL"


class LaneUnavailable(SetupError):
    """A runtime lane cannot run here; the message says why."""

    code = "LANE_UNAVAILABLE"


WIRE_ERRORS: dict[str, type[ClipError]] = {
    error.code: error
    for error in (
        AuthFailed,
        AuthExpired,
        InvalidRequest,
        ModelMismatch,
        UrlRefused,
        DownloadFailed,
        DownloadTimeout,
        ImageTooLarge,
        ImageInvalid,
        InferenceFailed,
        Overloaded,
        DeadlineExceeded,
        Internal,
    )
}
"""Wire code -> class, for the side that reads a reply."""
