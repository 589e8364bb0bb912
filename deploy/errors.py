"""The failures of deployment."""

from __future__ import annotations

from heimdex_clip.errors import ClipError


class DeployError(ClipError):
    """The deployment cannot go on; the message says what to change."""

    code = "DEPLOY"


class ApiError(DeployError):
    """The platform's REST API refused a request or could not be reached. `status` is 0 when nothing answered."""

    code = "DEPLOY_API"

    def __init__(self, message: str, *, status: int, retryable: bool | None = None) -> None:
        super().__init__(message, retryable=retryable)
        self.status = status
