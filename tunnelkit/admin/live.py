"""``status --watch``: what happens in a program, as it happens.

On a terminal, where rich is installed, it is a screen (`screen`); else a line for each event, for
people or as JSON.  Both read the same events (`watch_admin`); the screen asks for the status too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .client import AdminError, watch_admin
from .tables import printable

__all__ = ["can_show_screen", "line_of", "print_events", "program_ended"]


def can_show_screen() -> bool:
    """Whether standard output is a terminal that can be drawn on, and rich is there to draw."""
    try:
        import rich.live  # noqa: F401 - only to see whether it is there
    except ImportError:
        return False
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def line_of(event: Mapping[str, Any]) -> str:
    """Return *event* as a line for people: the time here, and the text; "now:" is the snapshot."""
    moment = datetime.fromtimestamp(event["unix"], UTC).astimezone()
    now = "now: " if event["is_snapshot"] else ""
    return f"{moment:%H:%M:%S}  {now}{printable(str(event['text']))}"


async def print_events(path: str, *, as_json: bool) -> None:
    """Print each event on a line until the program ends.

    Raises:
        ConfigurationError: nobody listens on *path*.
        AdminError: the program ended.
        BrokenPipeError: nobody reads the lines any more.
    Cancellation: atomic.
    """
    async with watch_admin(path) as events:
        async for event in events:
            print(json.dumps(event) if as_json else line_of(event), flush=True)
    raise program_ended(path)


def program_ended(path: str) -> AdminError:
    """Return the error that says so."""
    return AdminError(0, f"the program at {path} ended: start it, and watch it again")
