"""`python -m worker [handler|serve|selftest|info|settings]`."""

from __future__ import annotations

import argparse
import json
import os
import sys

from heimdex_clip.errors import ClipError
from worker import log, process, settings
from worker.leaving import leave
from worker.settings import Settings

_HOW_TO_RUN = """\
This is the CLIP embedding worker. What it found:
  model folder   {folder}{missing}
  runtime        WORKER_RUNTIME={runtime}
  secret         {secret}
RUNPOD_SERVERLESS=1 is not set, so nothing was started. Ways to run it:
  python -m worker handler    serve a RunPod queue (what RUNPOD_SERVERLESS=1 does)
  python -m worker serve      serve HTTP
  python -m worker selftest   load the model, prove its parity, exit
  python -m worker info       the same, and print what was found as JSON"""


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code; 2 for a setup that cannot work, with one line that says why."""
    parser = argparse.ArgumentParser(prog="python -m worker", description="CLIP embedding worker")
    parser.add_argument("command", nargs="?", choices=sorted(_COMMANDS))
    # The SDK reads arguments of its own (--rp_...) from the same command line.
    command = parser.parse_known_args(argv)[0].command
    try:
        read = settings.read(os.environ)
        log.configure(read.log_level)
        if command is None:
            command = "handler" if read.serverless else "explain"
        return (_explain if command == "explain" else _COMMANDS[command])(read)
    except ClipError as error:
        print(f"worker: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _explain(read: Settings) -> int:
    missing = "" if (read.folder / "manifest.json").exists() else "  (no model there)"
    secret = "set" if read.hmac_secret or read.hmac_secrets else "EMBEDDING_HMAC_SECRET is not set"
    print(_HOW_TO_RUN.format(folder=read.folder, missing=missing, runtime=read.runtime, secret=secret))
    return 0


def _handler(read: Settings) -> int:
    from worker import handler

    process.prepare()
    return handler.run(read)


def _serve(read: Settings) -> int:
    from worker import server

    process.prepare()
    return server.run(read)


def _selftest(read: Settings) -> int:
    from worker import startup

    encoder = startup.load_encoder(read)
    encoder.load_text()
    for tower, parity in encoder.report.parity.items():
        print(f"{tower} tower on {encoder.lane.name}: {parity}")
    return 0


def _info(read: Settings) -> int:
    from worker import startup

    encoder = startup.load_encoder(read)
    encoder.load_text()
    print(json.dumps(startup.facts(encoder), indent=2, default=str))
    return 0


def _settings(_: Settings) -> int:
    print(settings.table())
    return 0


_COMMANDS = {"handler": _handler, "serve": _serve, "selftest": _selftest, "info": _info, "settings": _settings}

if __name__ == "__main__":
    leave(main())
