"""Image bytes -> ``uint8 [size, size, 3]``, bit for bit what open_clip's transform makes of them.

The contract is open_clip's order on a PIL image: resize the short side (bicubic, antialiased), crop the
centre, and only then convert to RGB; palette and alpha images depend on it. Orientation (EXIF) and colour
profiles are not applied, animations give their first frame, 16-bit greys keep their high byte: see
docs/adr/0002-preprocessing-contract.md. Scaling to 0..1, mean and standard deviation are inside the graph.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from heimdex_clip.errors import ClipError, ImageInvalid, ImageTooLarge, Overloaded

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
"""Accepted formats by Pillow's names; "JPEG" admits MPO, whose first picture counts."""
_BYTES_PER_PIXEL = 4  # Pillow stores colour in four bytes, whatever the file has


Hold = Callable[[int], AbstractContextManager[None]]


def _no_limit(_bytes: int) -> AbstractContextManager[None]:
    return nullcontext()


def preprocess(data: bytes, *, size: int, max_pixels: int, hold: Hold = _no_limit) -> NDArray[np.uint8]:
    """Decode an encoded image and bring it to the graph's input: ``uint8 [size, size, 3]``, RGB.

    `hold` is entered with the bytes that decoding will need, before it needs them: a caller's memory limit.
    Raises ImageInvalid for anything that is not a whole image in one of `FORMATS`, ImageTooLarge when it
    has, or would have after resizing, more than `max_pixels`, Overloaded when memory ran out.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _limit(image.size, max_pixels)
            resized = resized_size(image.size, size)
            _limit(resized, max_pixels)
            with hold(_BYTES_PER_PIXEL * (_area(image.size) + _area(resized))):
                image.load()
                return to_pixels(image, size)
    except ClipError:
        raise  # this module's own, and whatever `hold` refuses with
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"The image has more than {max_pixels} pixels") from None
    except MemoryError:
        raise Overloaded("Not enough memory to decode the image") from None
    except UnidentifiedImageError:
        raise ImageInvalid(f"The bytes are not a {', '.join(FORMATS)} image") from None
    # Decoders raise whatever a hostile file leads them to (SyntaxError, struct.error, KeyError ...).
    except Exception as error:  # noqa: BLE001
        raise ImageInvalid(f"The image cannot be decoded ({type(error).__name__})") from None


def to_pixels(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize, crop, convert: a loaded PIL image of any mode to ``uint8 [size, size, 3]``."""
    image = _eight_bit(image)
    image = image.resize(resized_size(image.size, size), Image.Resampling.BICUBIC)
    left, top = (round((side - size) / 2.0) for side in image.size)
    image = image.crop((left, top, left + size, top + size))
    # Transparency kept as metadata changes no colour, but Pillow warns of it for every palette with graded alpha.
    image.info.pop("transparency", None)
    return np.asarray(image.convert("RGB"))


def resized_size(source: tuple[int, int], size: int) -> tuple[int, int]:
    """(width, height) after the resize rule: short side `size`, long side ``int(size * long / short)``."""
    width, height = source
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def _eight_bit(image: Image.Image) -> Image.Image:
    """Bring 16-bit grey to 8 bits by its high byte, as Pillow itself reads 16-bit colour.

    Pillow's own conversion clips: everything above 255 turns white.
    """
    if not image.mode.startswith("I"):
        return image
    high_byte = np.asarray(image).astype(np.int64) >> 8
    return Image.fromarray(high_byte.clip(0, 255).astype(np.uint8), mode="L")


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _limit(size: tuple[int, int], max_pixels: int) -> None:
    if _area(size) > max_pixels:
        raise ImageTooLarge(f"The image needs {size[0]} x {size[1]} pixels; at most {max_pixels} are accepted")
