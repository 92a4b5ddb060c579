"""What a peer has sent and nobody has used up yet, in bytes (no I/O).

Counts bound how much a peer may have under way: so many calls, so many items of each.  But each may
be as large as a message, so bytes are counted as well, over all calls of a connection:

* the arguments of calls and notifications that are carried out, from their arrival to their end;
* items that have arrived and were not taken; of payloads, all that the peer has leave to send;
* answers that wait to be sent, because the peer does not read, or for the others of a batch.

With much of it waiting, streams get leave to send only a little at a time: none of them stands
still, and none fills the memory.  What would go beyond `MAX_WAITING_BYTES` is refused.
"""

from __future__ import annotations

from typing import Final

from .codes import RpcCode, RpcError

__all__ = ["MAX_WAITING_BYTES", "Backlog"]

MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of a peer that wait at once, over all its calls, as they were sent.  Stops: floods of
large calls and items, each of them within its own bound."""


class Backlog:
    """The bytes of one peer that wait.

    Attributes:
        used: how many there are.
    """

    __slots__ = ("_most", "used")

    def __init__(self, most: int = MAX_WAITING_BYTES) -> None:
        self.used = 0
        self._most = most

    @property
    def has_room(self) -> bool:
        """Whether streams may get leave to send as much as they can use: half of it is free."""
        return self.used <= self._most // 2

    def add(self, size: int) -> None:
        """So many more wait.

        Raises:
            RpcError: BUSY, too many do; these are not counted.
        """
        if self.used + size > self._most:
            text = f"{self.used} bytes of this peer wait already, of at most {self._most}"
            raise RpcError(RpcCode.BUSY, text)
        self.used += size

    def change(self, by: int) -> None:
        """So many more, or fewer, wait, and nobody is refused."""
        self.used += by
