"""Say in the log what happens to a program's links and sessions: each line is an event."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from tunnelkit.errors import ErrorCode
from tunnelkit.events import (
    Event,
    LinkDown,
    LinkFailed,
    LinkLeaving,
    LinkRecovered,
    LinkSuspect,
    LinkUp,
    SessionEnded,
    SessionMoved,
    SessionOpen,
    SessionResumed,
    SessionSuspended,
)
from tunnelkit.host import LinkHost

__all__ = ["log_events"]

_log = logging.getLogger("tunnelkit.programs")

_TOLD = (
    LinkUp,
    LinkSuspect,
    LinkRecovered,
    LinkLeaving,
    SessionOpen,
    SessionSuspended,
    SessionResumed,
    SessionMoved,
    SessionEnded,
)
"""Events that are worth a line.  What fails before a link is up the library itself logs."""


def log_events(
    host: LinkHost[Any], on_displaced: Callable[[str], None] = lambda text: None
) -> None:
    """Log what there is, and from now on what happens.

    Args:
        host: an endpoint or a broker.
        on_displaced: called when another process of the same subject took this one's place.
    """

    def listen(event: Event) -> None:
        level = level_of(event)
        if _log.isEnabledFor(level):
            _log.log(level, "%s", event.text, extra={"fields": _fields_of(event)})
        if isinstance(event, LinkDown | LinkFailed) and event.code == ErrorCode.DISPLACED:
            on_displaced(event.why)

    for event in host.snapshot():
        listen(event)
    host.events.add(listen)


def level_of(event: Event) -> int:
    """Return the level at which *event* is logged."""
    if isinstance(event, LinkDown):
        # What became of a link that we dial, the dialler says already.
        return logging.DEBUG if event.link.dialled else logging.INFO
    return logging.INFO if isinstance(event, _TOLD) else logging.DEBUG


def _fields_of(event: Event) -> dict[str, object]:
    """Return the event's own members; time and text are those of the line."""
    members = event.as_dict()
    for name in ("at", "unix", "is_snapshot", "text"):
        members.pop(name)
    return {"event": members.pop("kind"), **members}
