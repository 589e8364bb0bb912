"""A caller's image, given as a URL, a path or bytes, as the contract's source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from heimdex_clip.contract import ImageData, ImageUrl
from heimdex_clip.errors import InvalidRequest

PathLike: TypeAlias = str | os.PathLike[str]
Image: TypeAlias = str | os.PathLike[str] | bytes
"""Of a batch: a string is a URL, a path object a file, bytes an encoded image."""


def image(url: str | None, path: PathLike | None, data: bytes | None) -> ImageUrl | ImageData:
    """The one that was given, read where it is a file. Raises InvalidRequest for none, several or no bytes."""
    if [url, path, data].count(None) != 2:
        raise InvalidRequest("exactly one of url, path and bytes is needed")
    if url is not None:
        return ImageUrl(url)
    if path is not None:
        data = _read(Path(path))
    if not data:
        raise InvalidRequest("the image has no bytes")
    return ImageData(bytes(data))


def images(given: Sequence[Image]) -> list[ImageUrl | ImageData]:
    """Of a batch, in order. Raises InvalidRequest."""
    return [
        image(one, None, None)
        if isinstance(one, str)
        else image(None, None, one)
        if isinstance(one, bytes)
        else image(None, one, None)
        for one in given
    ]


def need_no_reading(given: Sequence[Image]) -> bool:
    """Whether none of them is a file."""
    return all(isinstance(one, str | bytes) for one in given)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read the image {path} ({error.strerror})") from None
    except ValueError:
        raise InvalidRequest("the image's path holds a null byte") from None
