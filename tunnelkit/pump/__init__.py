"""The pump: one place per Trio run from which every socket is served.

How it works.  Carriers, listeners and spliced sockets are driven by readiness, not by tasks: a
handler is called when its socket can be read or written, does what it can without waiting, and
returns.  Many handlers run in one pass of Trio's scheduler, which is what makes the data plane
fast; everything that a user touches stays an ordinary Trio object on top of it.

* One pump per Trio run, shared by everything in it and counted by reference: `acquire_pump` and
  `release`.  Its tasks are system tasks, in no user's nursery; with the last reference they and
  the epoll descriptor are gone.
* A batch lasts at most 2 ms or 64 events, then Trio's other tasks have their turn.
* Links flush once at the end of a batch (`defer`), so that what many streams write in a batch goes
  out in one system call.
* Handlers run in the context in which they were registered.  An error that a handler lets out is
  logged and ends nothing else.  System tasks are protected from KeyboardInterrupt.
* Under a mock clock that jumps by itself only memory pipes work: real sockets and virtual time
  do not mix, and the attempt is refused.

`TUNNELKIT_PUMP=tasks` in the environment chooses the portable pump; `use_pump` does in code.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import trio

from tunnelkit.errors import ConfigurationError

from .blocks import Block
from .core import Pump, Timer, Watch
from .deadlines import Deadlines
from .tasks import TaskPump

__all__ = [
    "Block",
    "Deadlines",
    "Pump",
    "Timer",
    "Watch",
    "acquire_pump",
    "current_pump",
    "release_pump",
    "use_pump",
]

_current: Final[trio.lowlevel.RunVar[Pump | None]] = trio.lowlevel.RunVar("tunnelkit_pump", None)
_chosen: Final[trio.lowlevel.RunVar[str | None]] = trio.lowlevel.RunVar("tunnelkit_pump_kind", None)


def _make(kind: str) -> Pump:
    makers: dict[str, Callable[[], Pump]] = {"tasks": TaskPump}
    if hasattr(select, "epoll"):
        from .epoll import EpollPump

        makers["epoll"] = EpollPump
    if kind == "auto":
        kind = "epoll" if "epoll" in makers else "tasks"
    if kind not in makers:
        raise ConfigurationError(f"no pump {kind!r} here; choose one of: auto, {', '.join(makers)}")
    return makers[kind]()


@contextmanager
def use_pump(kind: str) -> Generator[None]:
    """Use the pump named *kind* ("auto", "epoll", "tasks") in this Trio run, inside the block."""
    before = _chosen.get()
    _chosen.set(kind)
    try:
        yield
    finally:
        _chosen.set(before)


def current_pump() -> Pump | None:
    """Return the pump of this Trio run, if it has one at the moment."""
    return _current.get()


def acquire_pump() -> Pump:
    """Return the pump of this Trio run; start it if this is its first user."""
    pump = _current.get()
    if pump is None:
        pump = _make(_chosen.get() or os.environ.get("TUNNELKIT_PUMP", "auto"))
        _current.set(pump)
        pump.start()
    pump.references += 1
    return pump


async def release_pump(pump: Pump) -> None:
    """Give a reference back; with the last one, wait until the pump is gone.

    Cancellation: atomic; the release always happens.
    """
    pump.references -= 1
    if not pump.references:
        _current.set(None)
        await pump.stop()
