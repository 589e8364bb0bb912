"""The clients of CLIP_INFERENCE_BACKEND=off: every result is `Disabled`, and nothing is loaded or sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from heimdex_clip.results import Disabled, Health


class DisabledClient:
    """`ClipClient`, switched off."""

    def embed_image(
        self,
        url: str | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        bytes: bytes | None = None,  # noqa: A002  # as in the client
        request_id: str | None = None,
        normalize: bool = True,
    ) -> Disabled:
        """Nothing."""
        return Disabled(request_id)

    def embed_text(self, text: str, *, request_id: str | None = None, normalize: bool = True) -> Disabled:
        """Nothing."""
        return Disabled(request_id)

    def embed_images(
        self, images: Sequence[str | os.PathLike[str] | bytes], *, normalize: bool = True
    ) -> list[Disabled]:
        """Nothing, for each."""
        return [Disabled() for _ in images]

    def info(self) -> Disabled:
        """Nothing."""
        return Disabled()

    def health(self) -> Health:
        """Not ready."""
        return Health("off", ready=False)

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncDisabledClient:
    """`AsyncClipClient`, switched off."""

    async def embed_image(
        self,
        url: str | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        bytes: bytes | None = None,  # noqa: A002  # as in the client
        request_id: str | None = None,
        normalize: bool = True,
    ) -> Disabled:
        """Nothing."""
        return Disabled(request_id)

    async def embed_text(self, text: str, *, request_id: str | None = None, normalize: bool = True) -> Disabled:
        """Nothing."""
        return Disabled(request_id)

    async def embed_images(
        self, images: Sequence[str | os.PathLike[str] | bytes], *, normalize: bool = True
    ) -> list[Disabled]:
        """Nothing, for each."""
        return [Disabled() for _ in images]

    async def info(self) -> Disabled:
        """Nothing."""
        return Disabled()

    async def health(self) -> Health:
        """Not ready."""
        return Health("off", ready=False)

    async def aclose(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
