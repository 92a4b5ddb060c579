"""The live screen of ``status --watch``: the tables of a status, and below them the last events.

How it works.  Three tasks share one `View`: one asks for the status at each interval and after
each event, one reads events, one draws when there is something new, when the terminal changes its
size, and at least once a second, because ages grow.  A program that is stopped keeps its last
picture, with a line that says for how long it has not answered.

What does not fit is left out where it says so: `fit` shortens the tables, events take the rest.
Rich draws from this task alone (`auto_refresh` would be a thread).
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.text import Text

from tunnelkit.errors import TunnelError

from .client import AdminError, call_admin, watch_admin
from .live import program_ended
from .tables import Table, age_of, printable, rich_table, tables_of

__all__ = ["EVENTS_KEPT", "View", "draw", "fit", "show_screen"]

EVENTS_KEPT: Final = 200
"""Most events that the screen remembers.  Stops: a watch of days filling the memory."""

DRAW_SECONDS: Final = 1.0
"""The screen is drawn at least this often, seconds: ages grow."""

ASK_AGAIN_SECONDS: Final = 0.1
"""Events that come fast do not make the screen ask for the status more often, seconds."""

LATE_SECONDS: Final = 3.0
"""A status that is this much later than its interval is called late, seconds."""

_LEAST_EVENTS: Final = 6
"""Lines that events get however much else there is."""

_COLOURS: Final = {
    "link-up": "green",
    "link-recovered": "green",
    "link-suspect": "yellow",
    "link-leaving": "yellow",
    "link-down": "red",
    "link-failed": "red",
    "strangers-refused": "red",
    "session-open": "green",
    "session-resumed": "green",
    "session-moved": "cyan",
    "session-suspended": "yellow",
    "session-ended": "red",
    "events-missed": "red",
}


@dataclass
class View:
    """What the screen shows."""

    path: str
    interval: float
    status: Mapping[str, Any] = field(default_factory=dict)
    asked_at: float = 0.0
    """When the status came, unix seconds."""
    trouble: str = ""
    """Why there was no status at the last attempt."""
    events: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))


# --- drawing -------------------------------------------------------------------------------


def fit(tables: Sequence[Table], height: int) -> list[Table]:
    """Shorten the longest tables until all together have at most *height* lines.

    If that is not enough, the last ones are left out.
    """
    most = max((len(rows) for _, _, rows in tables), default=0)
    while most > 1 and sum(_height(_cut(table, most)) for table in tables) > height:
        most -= 1
    shown = [_cut(table, most) for table in tables]
    while shown and sum(map(_height, shown)) > height:
        shown.pop()
    return shown


def _height(table: Table) -> int:
    """Return the lines of a table on the screen: a space, title, headings with a rule, rows."""
    title, headings, rows = table
    return 1 + bool(title) + (2 if any(headings) else 0) + len(rows)


def _cut(table: Table, most: int) -> Table:
    title, headings, rows = table
    if len(rows) <= most:
        return table
    more = f"… and {len(rows) - most + 1} more"
    return title, headings, [*rows[: most - 1], (more, *[""] * (len(headings) - 1))]


def draw(view: View, now: float, width: int, height: int) -> RenderableType:
    """Return the screen's content; *now* is unix seconds, the size is in characters."""
    console = Console(width=width, height=height)
    parts: list[RenderableType] = [_headline(view, now)]
    for table in fit(_tables(view, now), height - 3 - _LEAST_EVENTS):
        parts += ["", rich_table(table, one_line=True)]
    parts.append("")
    room = max(0, height - len(console.render_lines(Group(*parts))) - 1)
    lines = [_event_line(event, now) for event in list(view.events)[-room:]] if room else []
    if room and not lines:
        lines = [Text("  nothing has happened since you began to watch", style="dim")]
    return Group(*parts, Rule("events", align="left", style="dim"), *lines)


def _tables(view: View, now: float) -> list[Table]:
    shown = {key: value for key, value in view.status.items() if key not in ("program", "subject")}
    return tables_of(shown, now)


def _headline(view: View, now: float) -> Text:
    who = " ".join(str(view.status[key]) for key in ("program", "subject") if key in view.status)
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(printable(who) or "waiting for the program", style="bold")
    head.append(f"  {view.path}", style="dim")
    late = now - view.asked_at - view.interval
    if view.trouble:
        head.append(f"  {printable(view.trouble)}", style="bold red")
    elif view.status and late > LATE_SECONDS:
        head.append(f"  no answer for {age_of(now - view.asked_at)}", style="bold red")
    head.append("  Ctrl-C ends", style="dim")
    return head


def _event_line(event: Mapping[str, Any], now: float) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{age_of(now - event['unix']):>7}  ", style="dim")
    line.append(printable(str(event["text"])), style=_COLOURS.get(str(event["kind"]), ""))
    return line


# --- running -------------------------------------------------------------------------------


class _Pulse:
    """Wakes the tasks that wait for it."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def beat(self) -> None:
        self._event.set()
        self._event = trio.Event()

    async def wait(self, seconds: float) -> None:
        """Wait for the next beat, at most *seconds*."""
        with trio.move_on_after(seconds):
            await self._event.wait()


async def show_screen(path: str, *, interval: float, console: Console | None = None) -> int:
    """Show the screen until a signal ends it; return the signal's number.

    Args:
        interval: the status is asked for this often, seconds.

    Raises:
        ConfigurationError: nobody listens on *path*.
        AdminError: the program ended, or refused.
    Cancellation: atomic; the terminal is as before.
    """
    view = View(path, interval)
    console = console or Console(highlight=False)
    caught = 0
    failed: AdminError | None = None
    async with watch_admin(path) as events:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            async with trio.open_nursery() as nursery:
                changed, happened = _Pulse(), _Pulse()

                async def read_events() -> None:
                    nonlocal failed
                    try:
                        async for event in events:
                            if not event["is_snapshot"]:
                                view.events.append(event)
                                happened.beat()
                                changed.beat()
                        failed = program_ended(path)
                    except AdminError as error:
                        failed = error
                    nursery.cancel_scope.cancel()

                nursery.start_soon(read_events)
                nursery.start_soon(_ask, view, happened, changed)
                nursery.start_soon(_draw, view, console, live, changed)
                with trio.open_signal_receiver(
                    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH
                ) as received:
                    async for number in received:
                        if number == signal.SIGWINCH:
                            changed.beat()
                            continue
                        caught = number
                        break
                nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return caught


async def _ask(view: View, happened: _Pulse, changed: _Pulse) -> None:
    """Keep the status fresh."""
    while True:
        try:
            status = await call_admin(view.path, "status")
            if isinstance(status, dict):
                view.status, view.asked_at, view.trouble = status, time.time(), ""
        except TunnelError as error:
            view.trouble = str(error)
        changed.beat()
        await trio.sleep(ASK_AGAIN_SECONDS)
        await happened.wait(view.interval)


async def _draw(view: View, console: Console, live: Live, changed: _Pulse) -> None:
    while True:
        width, height = console.size
        live.update(draw(view, time.time(), width, height), refresh=True)
        await changed.wait(DRAW_SECONDS)
