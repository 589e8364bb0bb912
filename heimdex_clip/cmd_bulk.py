"""``heimdex-clip bulk``: any number of images through the configured backend into Parquet parts."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from heimdex_clip.errors import ClipError, SettingsError, SetupError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from heimdex_clip.bulk.engine import Engine, Tally
    from heimdex_clip.bulk.folder import Folder
    from heimdex_clip.bulk.rows import Input

EXIT_STOPPED, EXIT_SETUP, EXIT_ROW_ERRORS, EXIT_INTERRUPTED = 1, 2, 3, 130
_SHOW_EVERY_S = 0.5


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "bulk",
        allow_abbrev=False,
        help="embed any number of images into Parquet parts, resumable",
        description="Embed every url of a CSV, JSON lines or Parquet file through the configured backend into"
        " Parquet parts. Run the same command again to go on after any interruption. Needs the extra `bulk`."
        " Exit code: 0 every row has a vector, 3 some have an error instead, 1 stopped before the end, 2 wrong"
        " usage or settings, 130 interrupted.",
    )
    parser.add_argument("input", metavar="IN", type=Path, help="a .csv, .jsonl or .parquet with url and, if any, id")
    parser.add_argument("output", metavar="OUT", type=Path, help="the folder of the parts")
    parser.add_argument(
        "--concurrency", metavar="N", type=_whole(1 << 20), default=64, help="images under way (default: %(default)s)"
    )
    parser.add_argument(
        "--batch", metavar="N", type=_whole(256), default=16, help="images of one job (default: %(default)s)"
    )
    parser.add_argument(
        "--part-rows", metavar="N", type=_whole(1 << 20), default=4096, help="rows of a part (default: %(default)s)"
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Embed what is missing; the exit code. Raises nothing but what stops the process."""
    # The table says it all; without a handler the client's warnings would stand between the bar's lines.
    logging.getLogger("heimdex_clip").addHandler(logging.NullHandler())
    try:
        return _run(arguments, environ)
    except ClipError as error:
        print(f"heimdex-clip: {error.message}", file=sys.stderr)
        if isinstance(error, SetupError):
            return EXIT_SETUP
        print("heimdex-clip: finished parts are kept; the same command goes on from them", file=sys.stderr)
        return EXIT_STOPPED


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    import asyncio

    from heimdex_clip.bulk import folder, progress, rows

    try:
        import pyarrow  # noqa: F401  # found missing now, not after the first thousand images
    except ImportError:
        raise SettingsError("bulk needs pyarrow: install the extra `bulk`") from None
    source = folder.identity(arguments.input)
    records = rows.Input(arguments.input)
    out: Folder | None = None
    try:
        records.check()
        out = folder.Folder(arguments.output, source, part_rows=arguments.part_rows)
        tally, finished = asyncio.run(_embed(arguments, environ, records, out))
    finally:
        records.close()
        if out is not None:
            out.close()
    if not finished:
        print("heimdex-clip: interrupted; the same command goes on from the finished parts", file=sys.stderr)
        return EXIT_INTERRUPTED
    for line in progress.table(tally.errors, rows=tally.rows):
        print(line)
    model = "" if tally.model is None else f", model {tally.model.name}, model_digest {tally.model.digest}"
    print(f"{tally.rows:,} rows in {tally.parts:,} parts{model}")
    return EXIT_ROW_ERRORS if tally.errors else 0


async def _embed(
    arguments: argparse.Namespace, environ: Mapping[str, str], records: Input, out: Folder
) -> tuple[Tally, bool]:
    """Where the run stands at its end, and whether it came to it: False when a signal stopped it."""
    import asyncio

    from heimdex_clip.bulk.engine import Engine
    from heimdex_clip.bulk.progress import Progress
    from heimdex_clip.client import AsyncClipClient

    client = AsyncClipClient.from_env(environ)
    if not isinstance(client, AsyncClipClient):
        raise SettingsError("CLIP_INFERENCE_BACKEND is off; there is nothing to embed with")
    batch_rows = min(arguments.batch, arguments.concurrency, arguments.part_rows)
    async with client:
        engine = Engine(client, records, out, jobs=arguments.concurrency // batch_rows, batch_rows=batch_rows)
        running = asyncio.create_task(engine.run())
        _stop_on_signals(running.cancel)
        with Progress(sys.stderr, engine.tally, lambda: _estimate(records, engine)) as shown:
            while not running.done():
                await asyncio.wait([running], timeout=_SHOW_EVERY_S)
                shown.show()
    if running.cancelled():
        return engine.tally, False
    running.result()
    return engine.tally, True


def _estimate(records: Input, engine: Engine) -> int:
    return max(round(records.number / fraction), engine.tally.rows) if (fraction := records.fraction) else 0


def _stop_on_signals(stop: Callable[[], object]) -> None:
    import asyncio

    if threading.current_thread() is threading.main_thread():  # elsewhere nobody can ask for signals
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop)


def _whole(most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not (value.isascii() and value.isdigit() and 1 <= int(value) <= most):
            raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {most}")
        return int(value)

    return parse
