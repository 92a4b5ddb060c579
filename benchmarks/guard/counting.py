"""Counts what the library does inside of a block.

* `system_calls`: calls of sockets, epoll and ioctl that the library makes, and what Trio tells its
  own epoll for it.  The interpreter's profiler reports them, so that no code is wrapped.
  `socket()` itself is not among them, nor is Trio's waiting, which the load shares;
* `wakeups`: batches of the pump;
* `steps`: how often Trio's scheduler runs a task of the pump;
* `python_calls`: Python functions of the library that are entered, which stands for its time.
"""

from __future__ import annotations

import fcntl
import select
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import FrameType
from typing import Any, Final

import trio

from tunnelkit.pump import current_pump

__all__ = ["Counts", "counting"]

COUNTED: Final = (socket.SocketType, getattr(select, "epoll", socket.SocketType))
NO_SYSTEM_CALL: Final = frozenset({"fileno", "detach", "gettimeout"})
CONTROL: Final = frozenset({"register", "modify", "unregister"})


@dataclass(slots=True)
class Counts:
    """What was counted, in all or for one unit."""

    system_calls: float = 0
    wakeups: float = 0
    steps: float = 0
    python_calls: float = 0

    def per(self, units: int) -> dict[str, float]:
        """Return the counts for one unit."""
        names = [field.name for field in fields(self)]
        return {name: round(getattr(self, name) / units, 3) for name in names}


class _Steps(trio.abc.Instrument):
    """Counts the steps of the pump's tasks."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.startswith("tunnelkit pump"):
            self.count += 1


@contextmanager
def counting(counts: Counts) -> Generator[None]:
    """Add to *counts* what happens in the block."""
    pump = current_pump()
    assert pump is not None, "the stage is set before anything is counted"

    def profile(frame: FrameType, event: str, called: Any) -> None:
        if event == "call":
            counts.python_calls += _module(frame).startswith("tunnelkit")
        elif event == "c_call" and _is_system_call(called):
            counts.system_calls += _is_ours(frame, called)

    steps = _Steps()
    before, profiler = pump.wakeups, sys.getprofile()
    trio.lowlevel.add_instrument(steps)
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(profiler)
        trio.lowlevel.remove_instrument(steps)
        counts.wakeups += pump.wakeups - before
        counts.steps += steps.count


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _is_system_call(called: Any) -> bool:
    if called is fcntl.ioctl:
        return True
    owner = getattr(called, "__self__", None)
    return isinstance(owner, COUNTED) and called.__name__ not in NO_SYSTEM_CALL


def _is_ours(frame: FrameType, called: Any) -> bool:
    """Say whether the library called, or its pump's turn made Trio do so."""
    below: FrameType | None = frame
    while below is not None and _module(below) == "socket":
        below = below.f_back
    name = _module(below) if below is not None else ""
    return name.startswith("tunnelkit") or (name.startswith("trio.") and called.__name__ in CONTROL)
