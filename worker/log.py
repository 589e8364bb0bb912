"""Logs: one JSON object a line on standard error, never a secret, a signature or a URL's query string."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback

_LOGGER = "heimdex_clip.worker"
_encode = json.JSONEncoder(default=str).encode


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "event", ...}``; fields come from `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; times are UTC with milliseconds."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return _encode(line)


def configure(level: str) -> None:
    """Send the worker's events to standard error from `level` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(_LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def event(name: str, **fields: object) -> None:
    """Log one event with its fields."""
    _log(logging.INFO, name, fields)


def warning(name: str, **fields: object) -> None:
    """Log one event that somebody should look at."""
    _log(logging.WARNING, name, fields)


def _log(level: int, name: str, fields: dict[str, object]) -> None:
    logger = logging.getLogger(_LOGGER)
    if logger.isEnabledFor(level):
        # Not by logger.log: it looks up the caller's file and line for each event, and no line shows them.
        logger.handle(logger.makeRecord(_LOGGER, level, "", 0, name, (), None, extra={"fields": fields}))


def cause(error: BaseException) -> str:
    """Type and place of an unexpected error, without its message: messages may quote URLs or inputs."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}" if places else type(error).__name__
