"""``python -m export``: make, check and compare model folders."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from export import cmd_diff, cmd_engine, cmd_onnx, cmd_verify
from heimdex_clip.errors import ClipError

_COMMANDS = {"onnx": cmd_onnx, "engine": cmd_engine, "verify": cmd_verify, "diff": cmd_diff}
_EXIT_FAILED = 2
_EXIT_INTERRUPTED = 130


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where downloads are kept: ``$XDG_CACHE_HOME/heimdex-clip``, or ``~/.cache/heimdex-clip``."""
    base = environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "heimdex-clip"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; its exit code, 2 for a failure told in one line, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _COMMANDS.values():
        module.add_parser(subparsers)
    args = parser.parse_args(argv)
    args.cache = cache_folder(os.environ)
    try:
        code: int = _COMMANDS[args.command].run(args)
        return code
    except ClipError as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
