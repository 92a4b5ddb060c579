"""How much a session may have under way: its window of unacknowledged bytes (no I/O).

The window begins at what every session may have.  Time is cut into *rounds*: a round ends when the
first frame that was numbered in it is acknowledged, so it lasts for a round trip and for what that
frame had to wait.  What was acknowledged in a round, scaled down to the shortest round that was
seen, is what the path carries in a round trip.  The window is to be twice that: enough never to
be what limits the path, and not more than a path's worth of bytes waiting on the way, at a broker
for example.  As long as each round carries more than the one before, it is four times that,
because what a larger window brings is seen two rounds later.  The window grows out of a budget
(`windows`), and becomes smaller where that is short.
"""

from __future__ import annotations

from typing import Final

from tunnelkit import limits

from .windows import BudgetShare, RoundTrip

__all__ = ["ReplayWindow"]

SHORT_SECONDS: Final = 0.002
"""On paths with a shorter round trip the initial window is enough for 16 Gbit/s, seconds."""

RAMP_FACTOR: Final = 4
"""How many times what the last round carried the window is, while rounds carry more and more."""

STEADY_FACTOR: Final = 2
"""How many times that it is after it."""

MORE: Final = 1.25
"""A round that carries so many times what the one before did, carries more."""

LEAST_GROWTH: Final = 16
"""The window grows by this part of itself at least."""


class ReplayWindow:
    """The window of unacknowledged bytes of one session.

    Attributes:
        size: the most bytes that may be unacknowledged.
        acknowledged_bytes: what was acknowledged in this round; the session counts it.
        ends_with: the sequence number whose acknowledgement ends the round; the session sets it.
    """

    __slots__ = (
        "_began_at",
        "_carried",
        "_initial",
        "_share",
        "acknowledged_bytes",
        "charged",
        "ends_with",
        "round_trip",
        "size",
    )

    def __init__(self, initial_bytes: int, share: BudgetShare, round_trip: RoundTrip) -> None:
        self.size = initial_bytes
        self.charged = 0
        self.acknowledged_bytes = 0
        self.ends_with = 1
        self.round_trip = round_trip
        self._initial = initial_bytes
        self._share = share
        self._began_at: float | None = None
        self._carried = 0.0

    def restart(self, next_sequence: int) -> None:
        """The path is another one: measure anew."""
        self.round_trip.forget()
        self.ends_with = next_sequence
        self.acknowledged_bytes = 0
        self._began_at = None
        self._carried = 0.0

    def end_round(self, now: float, unacknowledged: int, cap: int) -> bool:
        """A round is over; say whether the window has grown.

        Args:
            unacknowledged: bytes under way, which a smaller window does not call back.
            cap: what brokers on the path allow; there is no use for more.
        """
        count, began = self.acknowledged_bytes, self._began_at
        self.acknowledged_bytes, self._began_at = 0, now
        if self._share.is_too_large:
            self._shrink(unacknowledged)
        if began is None or now <= began:
            return False
        self.round_trip.see(now - began)
        before = self._carried
        self._carried = count * min(1.0, self.round_trip.seconds / (now - began))
        factor = RAMP_FACTOR if self._carried > before * MORE else STEADY_FACTOR
        most = min(limits.MAX_SESSION_WINDOW_BYTES, cap)
        return self._grow_to(min(most, int(factor * self._carried)))

    def _grow_to(self, size: int) -> bool:
        more = size - self._initial - self.charged
        if size - self.size < self.size // LEAST_GROWTH or self.round_trip.seconds < SHORT_SECONDS:
            return False
        if more > 0 and not self._share.take(more):
            return False
        self.charged += max(0, more)
        self.size = size
        return True

    def _shrink(self, unacknowledged: int) -> None:
        self.size = max(self._initial, self.size // 2)
        self._settle(max(self.size, unacknowledged))

    def close(self) -> None:
        """The session is over, and keeps nothing."""
        self._settle(0)

    def _settle(self, held: int) -> None:
        spare = self.charged - max(0, held - self._initial)
        if spare > 0:
            self.charged -= spare
            self._share.give(spare)
