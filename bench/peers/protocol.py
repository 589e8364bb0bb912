"""What the bench and a library's driver say to each other: one JSON object a line, on standard input and output.

A driver is run as ``python -m bench.peers.NAME MODEL_FOLDER FIRST_IMAGE`` by the Python that has the library. Its
first line answers the image that it was started with, so that process start to first embedding is one wait. Then

- ``{"do": "images" | "texts" | "pixels", "of": [paths or texts]}``: ``{"values": [...], "errors": {"index": why}}``,
  one by one, as a picture that a library refuses must not hide the others; `pixels` gives sha256 digests;
- ``{"do": "load", "of": [paths], "batch": n, "clients": n, "window_s": s}``: every client calls the library with
  `batch` images, again and again, until the window is over: ``{"images", "seconds", "ms": [a call each]}``.

What goes wrong is answered with ``{"failed": why}``. What the library prints goes to standard error. Standard
library alone: every peer's environment imports this.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol


class Library(Protocol):
    """One library with its model loaded. `images` may be called by many threads at once."""

    def images(self, files: Sequence[bytes]) -> Sequence[Sequence[float]]:
        """Encoded images to vectors, in one call of the library."""

    def texts(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Texts to vectors, in one call of the library."""


def serve(opened: Callable[[Path], Library], argv: Sequence[str]) -> None:
    """Open the library, answer the first image, then every line until standard input closes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that a library prints may stand between the answers
    try:
        library = opened(Path(argv[0]))
        first = library.images([Path(argv[1]).read_bytes()])
        _answer(answers, {"values": _floats(first)})
    # Whatever a library raises is a result of this bench.
    except Exception as error:  # noqa: BLE001
        _answer(answers, {"failed": why(error)})
        return
    for line in sys.stdin:
        try:
            _answer(answers, perform(library, json.loads(line)))
        except Exception as error:  # noqa: BLE001
            _answer(answers, {"failed": why(error)})


def perform(library: Library, order: Mapping[str, Any]) -> dict[str, Any]:
    """One order's answer. Raises whatever the library raises, except for single images and texts."""
    if order["do"] == "load":
        files = [Path(path).read_bytes() for path in order["of"]]
        return load(
            library.images,
            files,
            batch=order["batch"],
            clients=order["clients"],
            window_s=order["window_s"],
        )
    call = getattr(library, order["do"])
    values: list[Any] = []
    errors: dict[str, str] = {}
    for index, one in enumerate(order["of"]):
        try:
            (value,) = call([one if order["do"] == "texts" else Path(one).read_bytes()])
            values.append(value if isinstance(value, str) else _floats([value])[0])
        except Exception as error:  # noqa: BLE001
            values.append(None)
            errors[str(index)] = why(error)
    return {"values": values, "errors": errors}


def load(
    images: Callable[[Sequence[bytes]], object], files: Sequence[bytes], *, batch: int, clients: int, window_s: float
) -> dict[str, Any]:
    """A closed loop of threads for about `window_s` seconds; a call under way at the end is finished and counted.

    One call goes before it, uncounted, so that nobody's first allocation is measured.
    `images` is how many were embedded in `seconds`, `ms` each call's time. Raises the first failure of a thread.
    """
    taken = count()
    took_ms: list[float] = []
    failed: list[Exception] = []

    def client() -> None:
        try:
            while not failed:
                first = next(taken) * batch
                called = time.perf_counter()
                if called >= until:
                    return
                images([files[(first + place) % len(files)] for place in range(batch)])
                took_ms.append((time.perf_counter() - called) * 1000)
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    images([files[place % len(files)] for place in range(batch)])
    started = time.perf_counter()
    until = started + window_s
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    seconds = time.perf_counter() - started
    return {"images": len(took_ms) * batch, "seconds": seconds, "ms": took_ms}


def why(error: Exception) -> str:
    """A failure in one short line."""
    text = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {text}"[:300]


def _floats(vectors: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[float(number) for number in vector] for vector in vectors]


def _answer(answers: Any, value: Mapping[str, Any]) -> None:
    print(json.dumps(value), file=answers, flush=True)
