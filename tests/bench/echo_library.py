"""A library that is none, behind the real protocol: a vector of the bytes' length; it refuses what it is told to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.peers import protocol


class EchoLibrary:
    """Fails to open when its folder is called ``broken``."""

    def __init__(self, folder: Path) -> None:
        print("a library's banner on standard output")
        if folder.name == "broken":
            raise RuntimeError("cannot open\nand a second line")

    def images(self, files: Sequence[bytes]) -> Sequence[Sequence[float]]:
        """A vector with the image's length."""
        if b"bad" in files:
            raise ValueError("not an image")
        return [[float(len(data)), 1.0] for data in files]

    def texts(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector with the text's length; "exit" ends the process."""
        if "exit" in texts:
            print("last words", file=sys.stderr)
            sys.exit(3)
        return [[float(len(text)), 2.0] for text in texts]


if __name__ == "__main__":
    protocol.serve(EchoLibrary, sys.argv[1:])
