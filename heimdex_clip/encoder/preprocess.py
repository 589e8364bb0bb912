"""Image bytes -> ``uint8 [size, size, 3]``, bit for bit what open_clip's transform makes of them.

The contract is open_clip's order on a PIL image: resize the short side (bicubic, antialiased), crop the
centre, and only then convert to RGB; palette and alpha images depend on it. Orientation (EXIF) and colour
profiles are not applied, animations give their first frame, 16-bit greys keep their high byte: see
docs/adr/0002-preprocessing-contract.md. Scaling to 0..1, mean and standard deviation are inside the graph.

::

    header, by Pillow ─┬─ common JPEG ──────────────────> decode, resize and crop in one, the C extension
                       ├─ anything in RGB or grey ─ Pillow ─> resize and crop in one, the C extension
                       └─ palette, alpha, CMYK ... ─ Pillow ─> to_pixels
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from heimdex_clip.encoder import jpeg, resample
from heimdex_clip.encoder.routes import Route, fastest
from heimdex_clip.errors import ClipError, ImageInvalid, ImageTooLarge, Overloaded

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
"""Accepted formats by Pillow's names; "JPEG" admits MPO, whose first picture counts."""
_BYTES_PER_PIXEL = 4  # Pillow stores colour in four bytes, whatever the file has
_WEBP_BYTES_PER_PIXEL = 12  # the animation decoder's canvases and Pillow's copies of them, besides the picture
_CHANNELS = {"L": 1, "RGB": 3}
"""The modes whose resize is the extension's: bytes without a palette, alpha or further depth."""
_BAND_PIXELS = 1 << 18  # copied out of Pillow in one piece: about what a core's cache holds

Hold = Callable[[int], AbstractContextManager[None]]
Pixels = NDArray[np.uint8]


def _no_limit(_bytes: int) -> AbstractContextManager[None]:
    return nullcontext()


def preprocess(
    data: bytes, *, size: int, max_pixels: int, hold: Hold = _no_limit, route: Route | None = None
) -> Pixels:
    """Decode an encoded image and bring it to the graph's input: ``uint8 [size, size, 3]``, RGB.

    `hold` is entered with the bytes that decoding will need, before it needs them: a caller's memory limit. A
    JPEG that only Pillow can judge enters it twice, one after the other. `route` decides about time alone; None
    is the fastest here.
    Raises ImageInvalid for anything that is not a whole image in one of `FORMATS`, ImageTooLarge when it
    has, or would have after resizing, more than `max_pixels`, Overloaded when memory ran out.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _limit(image.size, max_pixels)
            _limit(resized_size(image.size, size), max_pixels)
            return _pixels(image, data, size, hold, route or fastest())
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


def _pixels(image: Image.Image, data: bytes, size: int, hold: Hold, route: Route) -> Pixels:
    """The way of a picture whose header is read and within the limits."""
    if (frame := _frame(image, data, route)) is not None:
        resized, corner = _place(image.size, size)
        with hold(frame.working_bytes + jpeg.rows_bytes(frame, size)):
            square = jpeg.resize_crop(data, frame, resized, corner, size, variant=route.variant)
        # A complaint of whatever kind leaves the file to Pillow, whose verdict is the contract's.
        if square is not None:
            return _rgb(square)
    held = _BYTES_PER_PIXEL * _area(image.size) + _working_bytes(image, data)
    if route.variant == resample.PILLOW or image.mode not in _CHANNELS:
        with hold(held + _BYTES_PER_PIXEL * _area(resized_size(image.size, size))):
            image.load()
            return to_pixels(image, size)
    shape = image.height, image.width, _CHANNELS[image.mode]
    with hold(held + _bytes_of(shape, size)), route.buffers.borrow(shape) as pixels:
        image.load()
        _copy(image, pixels)
        return resized_crop(pixels, size, route)


def to_pixels(image: Image.Image, size: int) -> Pixels:
    """Resize, crop, convert: a loaded PIL image of any mode to ``uint8 [size, size, 3]``."""
    image = _eight_bit(image)
    image = image.resize(resized_size(image.size, size), Image.Resampling.BICUBIC)
    left, top = _corner(image.size, size)
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


def _corner(resized: tuple[int, int], size: int) -> tuple[int, int]:
    """(left, top) of the centre crop, rounded half to even."""
    left, top = (round((side - size) / 2.0) for side in resized)
    return left, top


def resized_crop(pixels: Pixels, size: int, route: Route) -> Pixels:
    """uint8 ``[H, W, 1]`` (grey) or ``[H, W, 3]`` (RGB) to ``[size, size, 3]``, by the route's variant."""
    resized, corner = _place((pixels.shape[1], pixels.shape[0]), size)
    return _rgb(resample.resize_crop(pixels, resized, corner, size, variant=route.variant))


def _place(source: tuple[int, int], size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The resized picture's (width, height), and where the kept square starts in it."""
    resized = resized_size(source, size)
    return resized, _corner(resized, size)


def _rgb(square: Pixels) -> Pixels:
    return square if square.ndim == 3 else np.repeat(square[..., None], 3, axis=-1)


def _copy(image: Image.Image, pixels: Pixels) -> None:
    """A loaded picture's bytes into ``[H, W, C]``, some rows at a time: all at once would take them twice."""
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(image.height, top + rows)))
        pixels[top : top + rows] = np.frombuffer(band.tobytes(), np.uint8).reshape(-1, *pixels.shape[1:])


def _frame(image: Image.Image, data: bytes, route: Route) -> jpeg.Frame | None:
    """The frame of a JPEG that the extension may decode, if it is what Pillow's reader of headers saw too."""
    if not route.rows or image.format not in jpeg.FORMATS:
        return None
    frame = jpeg.read_frame(data)
    return frame if frame is not None and (frame.width, frame.height) == image.size else None


def _working_bytes(image: Image.Image, data: bytes) -> int:
    """What Pillow's decoder of this picture holds besides the picture."""
    return _WEBP_BYTES_PER_PIXEL * _area(image.size) if image.format == "WEBP" else jpeg.working_bytes(image, data)


def _bytes_of(shape: tuple[int, int, int], size: int) -> int:
    """Memory for pixels of this shape, and for the rows between the two passes of their resize."""
    height, width, channels = shape
    return height * width * channels + _BYTES_PER_PIXEL * height * size


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
