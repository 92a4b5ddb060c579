"""Logs on stderr: a short line for people, or an object for programs.

Texts of peers end up in logs, so whatever could move a terminal's cursor or fake a line is escaped.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

__all__ = ["HumanFormatter", "JsonFormatter", "configure_logging"]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class HumanFormatter(logging.Formatter):
    """``07:12:30 warning  cannot connect to tcp://127.0.0.1:7000: connection refused``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the traceback below it if there is one to show."""
        moment = datetime.fromtimestamp(record.created, UTC).astimezone()
        text = f"{moment:%H:%M:%S} {record.levelname.lower():<7}  {_printable(record.getMessage())}"
        if record.exc_info:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        return text


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        entry: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            entry.update(fields)
        if record.exc_info:
            entry["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(entry, default=str)


class _Seldom(logging.Filter):
    """What Trio says of the admin socket while descriptors are short: one line a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._silent_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the traceback, and the record if one was let through less than a minute ago."""
        if record.created < self._silent_until:
            return False
        self._silent_until = record.created + 60.0
        record.exc_info = None
        return True


def configure_logging(form: str, level: str, stream: TextIO | None = None) -> None:
    """Send the library's logs to *stream* (stderr), in the form ``human`` or ``json``."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else HumanFormatter())
    logger = logging.getLogger("tunnelkit")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    # Trio's own listener (the admin socket) would else print tracebacks when descriptors run out.
    listeners = logging.getLogger("trio.serve_listeners")
    listeners.handlers[:] = [handler]
    listeners.filters[:] = [_Seldom()]
    listeners.propagate = False
    # A reader of our logs who has gone is no reason to print a traceback to nobody.
    logging.raiseExceptions = False
