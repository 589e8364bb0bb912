"""200 varied images and 100 texts, the same in every run, on which every peer is held against open_clip."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from bench import photos
from export import corpus

COUNT = 200
TEXT_COUNT = 100
_MAX_PIXELS = 40_000_000
_LEFT_OUT = ("16-bit grey", "16-bit grey with alpha")
"""Where this project departs from the reference on purpose (docs/adr/0002-preprocessing-contract.md)."""
_SUBJECTS = ("a cat", "an old tram", "two dogs", "a bowl of soup", "the Eiffel Tower", "a red bicycle", "nobody")
_FORMS = ("a photo of {}", "{} at night, 35mm film", "a low resolution drawing of {}!", "{}", "{} & {} — “again”")
_ODD = (
    "a",
    "!?",
    "…",
    "  white \t space \n everywhere ",
    "&lt;b&gt;bold&lt;/b&gt; &amp;amp; more",
    "naïve café, Straße, ĲSSEL",
    "夜の東京タワー",
    "Ein roter Bus vor dem Rathaus",
    "صورة قطة على أريكة",
    "תמונה של כלב",
    "фотография собаки",
    "ไม่มีช่องว่างระหว่างคำ",
    "हिन्दी में लिखा",
    "👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 🇩🇪",
    "é as e + accent, é as one",
    "ﬁ ligatures ﬀ and № 5",
    "12345 67890 3.14159",
    "it's we're you'll I'd they've",
    "SHOUTING in CamelCase",
    "<start_of_text> inside <end_of_text>",
    "schÃ¶n (twice encoded)",
    "a\u200bb zero width",
)


def images() -> list[tuple[str, bytes]]:
    """`COUNT` encoded images, each under a name: real photographs as their files are, cut to sizes whose centre crop
    is odd, and in every mode and format that the worker takes; then generated pictures.
    """
    found = [
        (case.name, case.data) for cases in corpus.groups().values() for case in cases if case.name not in _LEFT_OUT
    ]
    for number, made in enumerate(variants()):
        if len(found) == COUNT:
            break
        name, data = made
        found.append((f"{number:03} {name}", data))
    return found


def variants() -> Iterator[tuple[str, bytes]]:
    """Endless: photographs cut to random sizes, in the modes and formats in turn."""
    random = np.random.default_rng(8)
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in photos.jpegs(640, 360)]
    forms = tuple(_FORMATS)
    number = 0
    while True:
        width, height = (int(side) for side in np.exp(random.uniform(np.log(60), np.log(480), 2)))
        picture = pictures[number % len(pictures)].resize((width, height), Image.Resampling.LANCZOS)
        form = forms[number % len(forms)]
        yield f"{form} {width}x{height}", _encoded(picture, form)
        number += 1


_FORMATS = {
    "JPEG": ("RGB", "JPEG", {"quality": 90}),
    "JPEG 4:4:4": ("RGB", "JPEG", {"quality": 97, "subsampling": 0}),
    "progressive JPEG": ("RGB", "JPEG", {"progressive": True, "quality": 80}),
    "grey JPEG": ("L", "JPEG", {}),
    "CMYK JPEG": ("CMYK", "JPEG", {"quality": 92}),
    "PNG": ("RGB", "PNG", {}),
    "palette PNG": ("P", "PNG", {}),
    "RGBA PNG": ("RGBA", "PNG", {}),
    "grey with alpha PNG": ("LA", "PNG", {}),
    "GIF": ("P", "GIF", {}),
    "WebP": ("RGB", "WEBP", {"quality": 85}),
    "WebP with alpha": ("RGBA", "WEBP", {"quality": 85}),
}


def _encoded(picture: Image.Image, form: str) -> bytes:
    mode, file_format, options = _FORMATS[form]
    if mode in ("RGBA", "LA"):
        alpha = np.tile(np.linspace(0, 255, picture.width).astype(np.uint8), (picture.height, 1))
        picture.putalpha(Image.fromarray(alpha))
    picture = picture.quantize(96) if mode == "P" else picture.convert(mode)
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def texts() -> list[str]:
    """`TEXT_COUNT` texts: captions, other scripts, odd characters, and some longer than the model reads."""
    long = [f"a very long caption about {subject}, " * 20 for subject in _SUBJECTS]
    edge = ["cat " * words for words in (73, 74, 75, 76, 77, 78)]
    captions = [form.format(subject, subject) for form in _FORMS for subject in _SUBJECTS]
    found = [*corpus.TEXTS, *_ODD, *long, *edge, *captions]
    found += [f"picture number {number} of {_SUBJECTS[number % len(_SUBJECTS)]}" for number in range(TEXT_COUNT)]
    return list(dict.fromkeys(found))[:TEXT_COUNT]
