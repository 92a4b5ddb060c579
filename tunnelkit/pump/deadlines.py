"""Many deadlines of the same length behind one timer.

Entries are kept in the order in which they were added, which is the order in which they fall due,
so adding and removing cost a dictionary operation and nothing stays behind for what is removed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

import trio

from .core import Pump, Timer

__all__ = ["Deadlines"]

_SLACK_SECONDS: Final = 1e-6


class Deadlines:
    """Calls that are made *seconds* after they were added, unless they are removed before."""

    def __init__(self, pump: Pump, seconds: float) -> None:
        self._pump = pump
        self._seconds = seconds
        self._waiting: dict[int, tuple[float, Callable[[], None]]] = {}
        self._keys = count()
        self._timer: Timer | None = None

    def add(self, call: Callable[[], None]) -> int:
        """Call *call* after the time; return the key to remove it by."""
        key = next(self._keys)
        self._waiting[key] = (trio.current_time() + self._seconds, call)
        if self._timer is None:
            self._timer = self._pump.call_later(self._seconds, self._due)
        return key

    def remove(self, key: int) -> None:
        """Forget a call; a no-op if it was made already."""
        self._waiting.pop(key, None)

    def close(self) -> None:
        """Forget all calls."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        now = trio.current_time() + _SLACK_SECONDS
        while self._waiting:
            key, (deadline, call) = next(iter(self._waiting.items()))
            if deadline > now:
                self._timer = self._pump.call_later(deadline - now, self._due)
                return
            del self._waiting[key]
            call()
