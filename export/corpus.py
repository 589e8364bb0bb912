"""Images to verify a model on: real photographs, and pictures that a careless preprocessing gets wrong."""

from __future__ import annotations

import importlib.util
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heimdex_clip.errors import SetupError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_PHOTOGRAPHS = {
    ("skimage", "data"): (
        "astronaut.png",
        "camera.png",
        "chelsea.png",
        "coffee.png",
        "coins.png",
        "hubble_deep_field.jpg",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    ("sklearn", "datasets/images"): ("china.jpg", "flower.jpg"),
}
"""Package and its folder -> the photographs it carries."""

TEXTS = (
    "a photo of a cat",
    "a diagram",
    "two people walking along the beach at sunset",
    "Ein roter Bus vor dem Rathaus",
    "夜の東京タワー",
    "a very long caption " * 30,
)
"""Captions as people write them, one of them longer than the model reads."""

_ORIENTATION = 0x0112  # EXIF tag
_ROTATED = 6  # "turn by 90 degrees clockwise to view"


@dataclass(frozen=True, slots=True)
class Case:
    """One encoded image under a name that says what is odd about it."""

    name: str
    data: bytes


def groups() -> dict[str, list[Case]]:
    """The whole corpus by what it is. Raises SetupError as `photographs` does."""
    return {"photographs": photographs(), "hostile pictures": hostile()}


def photographs() -> list[Case]:
    """Real photographs, as the files are. Raises SetupError when the packages that carry them are missing."""
    found = []
    for (package, folder), names in _PHOTOGRAPHS.items():
        # Only located, not imported: these packages take seconds to import and their code is not needed.
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SetupError("the photographs come from the packages scikit-image and scikit-learn; install both")
        for name in names:
            try:
                data = (Path(spec.origin).parent / folder / name).read_bytes()
            except OSError as error:
                raise SetupError(f"the package {package} carries no {name} ({error.strerror})") from None
            found.append(Case(name, data))
    return found


def hostile() -> list[Case]:
    """Generated pictures: extreme sizes, every mode that the accepted formats can hold, metadata traps."""
    return [*_sizes(), *_modes(), *_formats()]


def _sizes() -> Iterator[Case]:
    """Extreme ratios, upscaling, and sides where the crop's rounding is decided (odd, half to even)."""
    for width, height in (
        (1, 1),
        (1, 90),
        (90, 1),
        (2, 3),
        (17, 5),
        (1200, 40),
        (40, 1200),
        (223, 225),
        (224, 224),
        (224, 225),
        (227, 224),
        (225, 401),
        (333, 500),
        (641, 427),
    ):
        yield Case(f"size {width}x{height}", _encode(_picture(width, height), "PNG"))


def _modes() -> Iterator[Case]:
    import numpy as np
    from PIL import Image

    picture = _picture(301, 207)
    alpha = _ramp(301, 207)
    with_alpha = picture.copy()
    with_alpha.putalpha(alpha)
    palette = picture.quantize(64)
    grey = picture.convert("L")
    yield Case("palette", _encode(palette, "PNG"))
    yield Case("palette, one clear colour", _encode(palette, "PNG", transparency=3))
    yield Case("palette, graded alpha", _encode(palette, "PNG", transparency=bytes(range(0, 256, 4))))
    yield Case("RGB, one clear colour", _encode(picture, "PNG", transparency=(10, 20, 30)))
    yield Case("RGBA", _encode(with_alpha, "PNG"))
    yield Case("grey", _encode(grey, "PNG"))
    yield Case("grey, one clear shade", _encode(grey, "PNG", transparency=128))
    yield Case("grey with alpha", _encode(with_alpha.convert("LA"), "PNG"))
    yield Case("1-bit", _encode(picture.convert("1"), "PNG"))
    yield Case("CMYK JPEG", _encode(picture.convert("CMYK"), "JPEG", quality=92))
    # Values all over the 16 bits, so that a reader that clips or takes the low byte shows.
    deep = np.linspace(0, 65535, 301 * 207).astype(np.uint16).reshape(207, 301)
    yield Case("16-bit grey", _encode(Image.fromarray(deep), "PNG"))
    colour = np.stack([deep, deep[::-1], deep[:, ::-1]], axis=-1)
    yield Case("16-bit RGB", _png16(colour, _PNG_RGB))
    yield Case("16-bit grey with alpha", _png16(np.stack([deep, deep[::-1]], axis=-1), _PNG_GREY_ALPHA))


def _formats() -> Iterator[Case]:
    from PIL import Image

    picture = _picture(301, 207)
    exif = Image.Exif()
    exif[_ORIENTATION] = _ROTATED
    yield Case("EXIF-rotated JPEG", _encode(picture, "JPEG", exif=exif, quality=92))
    yield Case("grey JPEG", _encode(picture.convert("L"), "JPEG"))
    yield Case("progressive JPEG", _encode(picture, "JPEG", progressive=True))
    yield Case("4:2:0 JPEG of odd sides", _encode(_picture(299, 211), "JPEG", subsampling=2))
    yield Case("WebP", _encode(picture, "WEBP", quality=80))
    with_alpha = picture.copy()
    with_alpha.putalpha(_ramp(301, 207))
    yield Case("WebP with alpha", _encode(with_alpha, "WEBP", lossless=True))
    yield Case("GIF", _encode(picture, "GIF"))
    frames = [_picture(120, 90).rotate(angle) for angle in (0, 90, 180)]
    yield Case("animated GIF", _encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))


def _picture(width: int, height: int) -> Image.Image:
    """RGB with gradients, edges and fine texture, the same for the same size."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(width * 10_007 + height).integers(0, 64, (height, width, 3))
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([127 + 90 * np.sin(x / 9 + y / 31), x * 190 / width, y * 190 / height], axis=-1)
    waves[(x // 16 + y // 16) % 5 == 0] += 60
    return Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8))


def _ramp(width: int, height: int) -> Image.Image:
    """L, from clear at the left to opaque at the right."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1)))


def _encode(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


_PNG_RGB, _PNG_GREY_ALPHA = 2, 4  # colour types of the PNG specification, section 11.2.1


def _png16(samples: NDArray[np.uint16], colour_type: int) -> bytes:
    """A 16-bit PNG of uint16 ``[height, width, channels]``, which Pillow reads but cannot write."""
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)  # filter 0 before each row
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
