"""Flow control of one direction of a stream, as arithmetic (no I/O).

Credit is absolute: a `window` frame carries the number of bytes that may have been sent since
the stream began, so that a repeated or overtaken one does no harm.  Credit is given back when
bytes are *consumed*, not when they arrive: a stream that nobody reads stops its own sender and
nothing else.

A window starts at the protocol's initial size and doubles out of a shared budget when half of it
is consumed faster than `GROW_BELOW_SECONDS`; it never grows when the budget is used up, and it
is given back when the stream ends.
"""

from __future__ import annotations

from typing import Final

from tunnelkit import limits
from tunnelkit.errors import RemoteProtocolError

__all__ = ["ReceiveWindow", "WindowBudget"]

GROW_BELOW_SECONDS: Final = 0.05
"""A window whose half is consumed faster than this carries less than its path could."""


class WindowBudget:
    """Bytes that the windows of a session may take above their initial sizes."""

    __slots__ = ("free_bytes",)

    def __init__(self, total_bytes: int) -> None:
        self.free_bytes = total_bytes

    def take(self, count: int) -> bool:
        """Take *count* bytes if they are free."""
        if count > self.free_bytes:
            return False
        self.free_bytes -= count
        return True

    def give(self, count: int) -> None:
        """Give *count* bytes back."""
        self.free_bytes += count


class ReceiveWindow:
    """What the peer may still send in one direction of a stream.

    Invariant: ``consumed <= received <= granted <= consumed + size``.
    """

    __slots__ = ("_updated_at", "consumed", "granted", "maximum", "received", "size")

    def __init__(self, maximum: int = limits.MAX_STREAM_WINDOW_BYTES) -> None:
        self.size: int = limits.INITIAL_STREAM_WINDOW_BYTES
        self.maximum = maximum
        self.received = 0
        self.consumed = 0
        self.granted = self.size
        self._updated_at = float("-inf")

    def arrive(self, count: int) -> None:
        """Count bytes that arrived.

        Raises:
            RemoteProtocolError: the peer sent more than it had credit for.
        """
        self.received += count
        if self.received > self.granted:
            raise RemoteProtocolError("data beyond the stream's credit")

    def consume(self, count: int) -> bool:
        """Count bytes that were used; say whether new credit should be announced."""
        self.consumed += count
        return (self.granted - self.consumed) * 2 <= self.size

    def update(self, now: float, budget: WindowBudget) -> int:
        """Return the absolute credit to announce; grow if the window is what limits the stream."""
        is_due = self.consumed + self.size > self.granted
        if is_due and now - self._updated_at < GROW_BELOW_SECONDS:
            more = min(self.size, self.maximum - self.size)
            if more > 0 and budget.take(more):
                self.size += more
        self._updated_at = now
        self.granted = max(self.granted, self.consumed + self.size)
        return self.granted

    def close(self, budget: WindowBudget) -> None:
        """Give the grown part back to the budget."""
        grown = self.size - limits.INITIAL_STREAM_WINDOW_BYTES
        if grown > 0:
            self.size -= grown
            budget.give(grown)
