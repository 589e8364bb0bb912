"""Clients of the worker, wherever it runs: one for threads, one for asyncio, the same in all else.

Both sign every attempt anew, retry what can be cured (429, 5xx, connection errors, a lost job, a full worker)
under one deadline, and raise only `ClipError`. No secret is in any exception, log line or `repr`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from heimdex_clip import _sources
from heimdex_clip._settings import DEFAULT_BASE_URL, ClientSettings
from heimdex_clip.contract import Embedding, Text
from heimdex_clip.errors import ClipError
from heimdex_clip.results import Health, Info

if TYPE_CHECKING:
    from heimdex_clip._router import Router
    from heimdex_clip.disabled import AsyncDisabledClient, DisabledClient


class _Client:
    """What both clients are made of: the way to a backend. The subclass adds who walks it."""

    _router: Router

    def __init__(
        self,
        endpoint_id: str,
        api_key: str,
        secret: str,
        *,
        kid: str | None = None,
        base_url: str = DEFAULT_BASE_URL,
        timeout_s: float = 60.0,
        attempt_timeout_s: float = 20.0,
        auth_version: int = 2,
        expected_digest: str = "",
    ) -> None:
        # Here and below, so that a client that is switched off loads nothing.
        from heimdex_clip._router import Router
        from heimdex_clip._routing import spread
        from heimdex_clip.backends.runpod import RunPod

        backend = RunPod.checked(
            endpoint_id,
            secret,
            api_key=api_key,
            kid=kid,
            base_url=base_url,
            timeout_s=timeout_s,
            attempt_timeout_s=attempt_timeout_s,
            auth_version=auth_version,
            clock=time.monotonic,
            spread=spread,
        )
        self._open(Router(backend, expected_digest=expected_digest))

    @classmethod
    def _from_settings(cls, settings: ClientSettings) -> Self:
        from heimdex_clip import _routing

        client = cls.__new__(cls)
        client._open(_routing.router(settings))
        return client

    def _open(self, router: Router) -> None:
        self._router = router

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._router.primary.name!r})"


class ClipClient(_Client):
    """Blocking client of a RunPod endpoint; threads may share one. Close it, or use it in a ``with`` statement.

    `endpoint_id` and `api_key` are RunPod's, `secret` is the worker's, under the name `kid` ("default").
    `timeout_s` is the deadline of a call, all retries included; `attempt_timeout_s` is how long a worker may
    have a job before it is taken for lost and submitted again. `auth_version` 1 signs only the image's URL,
    for workers that know no other. `expected_digest`, when given, is the model_digest that every vector must have.
    Raises SettingsError for a value that cannot be used. `from_env` makes a client of any backend.
    """

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self | DisabledClient:
        """A client as the environment says (docs/client.md has the variables), or as `environ` says.

        CLIP_INFERENCE_BACKEND=off gives a client whose results are `Disabled`; it loads nothing. Raises SettingsError.
        """
        settings = ClientSettings.read(environ)
        if settings.backend == "off":
            from heimdex_clip.disabled import DisabledClient

            return DisabledClient()
        return cls._from_settings(settings)

    def embed_image(
        self,
        url: str | None = None,
        *,
        path: _sources.PathLike | None = None,
        bytes: bytes | None = None,  # noqa: A002  # the clearest name for a caller
        request_id: str | None = None,
        normalize: bool = True,
    ) -> Embedding:
        """Embed the image at `url`, which the worker downloads, in the file `path`, or in `bytes`.

        `request_id` (a random one when None) comes back in the embedding and stands in the worker's log.
        Raises the worker's error by its class; EndpointUnauthorized, EndpointUnavailable or BadReply for the
        way there; DigestMismatch for a vector of another model; DeadlineExceeded, up to 2 s after the deadline,
        since the job is cancelled first.
        """
        source = _sources.image(url, path, bytes)
        return self._driver.run(self._router.embed(source, request_id=request_id, normalize=normalize))

    def embed_text(self, text: str, *, request_id: str | None = None, normalize: bool = True) -> Embedding:
        """Embed a text into the same space; needs `auth_version` 2. Raises as `embed_image` does."""
        return self._driver.run(self._router.embed(Text(text), request_id=request_id, normalize=normalize))

    def embed_images(self, images: Sequence[_sources.Image], *, normalize: bool = True) -> list[Embedding | ClipError]:
        """Embed several images in one job, in order: for each its embedding, or its own error.

        A string is a URL, a path object a file, bytes an encoded image. Needs `auth_version` 2. Raises as
        `embed_image` does where the whole job fails, and InvalidRequest with the number that fits when the
        request is too large.
        """
        return self._driver.run(self._router.embed_batch(_sources.images(images), normalize=normalize))

    def info(self) -> Info:
        """What the backend serves; on RunPod a job, which waits for a worker. Raises as `embed_image` does."""
        return self._driver.run(self._router.info())

    def health(self) -> Health:
        """How the backend fares; starts no worker. Raises as `embed_image` does when it cannot be asked."""
        return self._driver.run(self._router.health())

    def close(self) -> None:
        """Close the connections."""
        if self._router.canary is not None:
            self._router.canary.close()
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, router: Router) -> None:
        from heimdex_clip._drivers import SyncDriver

        super()._open(router)
        self._driver = SyncDriver()


class AsyncClipClient(_Client):
    """`ClipClient` for asyncio: the same arguments, methods and errors. Close it, or use ``async with``.

    A task that is cancelled leaves its job behind; the platform drops it by the policy sent along.
    """

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self | AsyncDisabledClient:
        """See `ClipClient.from_env`."""
        settings = ClientSettings.read(environ)
        if settings.backend == "off":
            from heimdex_clip.disabled import AsyncDisabledClient

            return AsyncDisabledClient()
        return cls._from_settings(settings)

    async def embed_image(
        self,
        url: str | None = None,
        *,
        path: _sources.PathLike | None = None,
        bytes: bytes | None = None,  # noqa: A002  # the clearest name for a caller
        request_id: str | None = None,
        normalize: bool = True,
    ) -> Embedding:
        """See `ClipClient.embed_image`."""
        if path is None:
            source = _sources.image(url, None, bytes)
        else:
            source = await self._driver.compute(lambda: _sources.image(url, path, bytes))
        return await self._driver.run(self._router.embed(source, request_id=request_id, normalize=normalize))

    async def embed_text(self, text: str, *, request_id: str | None = None, normalize: bool = True) -> Embedding:
        """See `ClipClient.embed_text`."""
        return await self._driver.run(self._router.embed(Text(text), request_id=request_id, normalize=normalize))

    async def embed_images(
        self, images: Sequence[_sources.Image], *, normalize: bool = True
    ) -> list[Embedding | ClipError]:
        """See `ClipClient.embed_images`."""
        if _sources.need_no_reading(images):
            sources = _sources.images(images)
        else:
            sources = await self._driver.compute(lambda: _sources.images(images))
        return await self._driver.run(self._router.embed_batch(sources, normalize=normalize))

    async def info(self) -> Info:
        """See `ClipClient.info`."""
        return await self._driver.run(self._router.info())

    async def health(self) -> Health:
        """See `ClipClient.health`."""
        return await self._driver.run(self._router.health())

    async def aclose(self) -> None:
        """Close the connections."""
        if self._router.canary is not None:
            self._router.canary.close()
        await self._driver.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _open(self, router: Router) -> None:
        from heimdex_clip._drivers import AsyncDriver

        super()._open(router)
        self._driver = AsyncDriver()
