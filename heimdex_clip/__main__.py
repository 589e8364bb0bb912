"""``python -m heimdex_clip`` (or ``heimdex-clip``): what a caller needs at a command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from heimdex_clip import cmd_bulk, cmd_fetch_model, cmd_sign, cmd_smoke
from heimdex_clip.errors import ClipError

_COMMANDS: Mapping[str, ModuleType] = {
    "sign": cmd_sign,
    "fetch-model": cmd_fetch_model,
    "smoke": cmd_smoke,
    "bulk": cmd_bulk,
}
_EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run one command; returns the exit code: 0, 1 when it failed with one line, 2 for wrong usage."""
    parser = argparse.ArgumentParser("heimdex-clip", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _COMMANDS.values():
        module.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        code: int = _COMMANDS[arguments.command].run(arguments, environ)
        return code
    except ClipError as error:
        print(f"heimdex-clip: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("heimdex-clip: interrupted", file=sys.stderr)
        return _EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
