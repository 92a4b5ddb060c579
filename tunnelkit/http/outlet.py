"""Bytes on their way into an end, those that it has not taken yet included (no I/O)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from tunnelkit.wire.stream import NULL_END, Buffer, End

__all__ = ["Outlet"]

MAX_JOINED_BYTES: Final = 64 * 1024
"""Up to here pieces are copied into one, bytes: that costs less than a system call for each."""


class Outlet:
    """What is sent into one end.

    Whoever sends looks at `is_full` first, and sends no more until `flush` has said that all has
    gone: so what is kept is what one read has brought.
    """

    __slots__ = ("_finishes", "_held", "_waiting", "end", "waiting_bytes")

    def __init__(self, end: End = NULL_END) -> None:
        self.end = end
        self._waiting: deque[bytes] = deque()
        self._held = b""
        self._finishes = False
        self.waiting_bytes = 0
        """How much waits to be taken."""

    @property
    def is_full(self) -> bool:
        """Whether something waits to be taken."""
        return bool(self._waiting)

    def hold(self, data: bytes) -> None:
        """Send *data* together with what is sent next, which has to follow at once."""
        self._held += data

    def send(self, pieces: Sequence[Buffer]) -> None:
        """Send pieces in order; what the end does not take now is copied and kept."""
        if self._held:
            pieces = [self._held, *pieces]
            self._held = b""
        if len(pieces) > 1 and sum(map(len, pieces)) <= MAX_JOINED_BYTES:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            taken = 0 if self._waiting else self.end.offer(piece)
            if taken < len(piece):
                self._waiting.append(bytes(piece[taken:]))
                self.waiting_bytes += len(piece) - taken

    def finish(self) -> None:
        """No more will be sent: tell the end once it has taken what waits."""
        if self._waiting:
            self._finishes = True
        else:
            self.end.finish()

    def flush(self) -> bool:
        """Send what waits; return whether all of it has gone."""
        while self._waiting:
            piece = self._waiting[0]
            taken = self.end.offer(piece)
            self.waiting_bytes -= taken
            if taken < len(piece):
                self._waiting[0] = piece[taken:]
                return False
            self._waiting.popleft()
        if self._finishes:
            self._finishes = False
            self.end.finish()
        return True

    def drop(self) -> None:
        """Forget what waits, and the end."""
        self._waiting.clear()
        self.waiting_bytes = 0
        self._held = b""
        self._finishes = False
        self.end = NULL_END
