"""The way between two hosts of a memory network: how fast it is, and what is wrong with it.

A path has a clock of its own, which stands still while the path is held.  Arrival times are in
that clock, so that after a stall everything goes on as if no time had passed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import trio

__all__ = ["Cut", "How", "OnPath", "Path"]

How: TypeAlias = Literal["reset", "eof", "silent"]
"""What both ends see of a cut: a reset, an end of file, or nothing at all."""


class OnPath(Protocol):
    """What a path carries: connections, and connects that wait for an answer."""

    def advance(self) -> None:
        """Let arrive what is due, and set or drop the timer for the rest."""

    def sever(self, how: How) -> None:
        """End, because the path was cut."""


@dataclass(slots=True)
class Cut:
    """A cut that was ordered; `happened` says whether it has taken place."""

    source: str
    remaining_bytes: int
    how: How
    happened: bool = False


class Path:
    """Latency, bandwidth and faults between two hosts, the same in both directions."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.bandwidth: float | None = None
        self.capacity_bytes = 0
        self.free_at: defaultdict[str, float] = defaultdict(float)
        """Per source: when the last byte handed over so far has left, in this path's clock."""
        self.carried_bytes: defaultdict[str, int] = defaultdict(int)
        """Per source: bytes delivered to the other host."""
        self.users: dict[int, OnPath] = {}  # by identity, in order of their making
        self.held = False
        self._cuts: list[Cut] = []
        self._held_at = 0.0
        self._lost = 0.0

    def now(self) -> float:
        """Return the time of this path's clock, seconds."""
        return (self._held_at if self.held else trio.current_time()) - self._lost

    def hold(self, held: bool) -> None:
        """Stop everything on the path, or let it go on."""
        if held == self.held:
            return
        if held:
            self._held_at = trio.current_time()
        else:
            self._lost += trio.current_time() - self._held_at
        self.held = held
        for user in list(self.users.values()):
            user.advance()

    # --- cuts -------------------------------------------------------------------------------

    def plan(self, cut: Cut) -> None:
        """Cut once enough bytes were delivered; now, if that is so and there is what to cut."""
        self._cuts.append(cut)
        if self.users:
            self.cut_if_due()

    def allow(self, source: str, count: int) -> int:
        """Return how many of *count* arriving bytes get through before the next cut."""
        mine = [cut for cut in self._cuts if cut.source == source]
        allowed = min([count, *(cut.remaining_bytes for cut in mine)])
        for cut in mine:
            cut.remaining_bytes -= allowed
        self.carried_bytes[source] += allowed
        return allowed

    def cut_if_due(self) -> None:
        """Carry out the cuts whose bytes have all been delivered."""
        due = [cut for cut in self._cuts if not cut.remaining_bytes]
        if not due:
            return
        self._cuts = [cut for cut in self._cuts if cut.remaining_bytes]
        for cut in due:
            cut.happened = True
            for user in list(self.users.values()):
                user.sever(cut.how)
