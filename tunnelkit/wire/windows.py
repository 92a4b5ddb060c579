"""Flow control of one direction of a stream, as arithmetic (no I/O).

Credit is absolute: a `window` frame carries the number of bytes that may have been sent since
the stream began, so that a repeated or overtaken one does no harm.  Credit is given back when
bytes are *consumed*, not when they arrive: a stream that nobody reads stops its own sender and
nothing else.

Growth.  A window starts at the protocol's initial size.  It limits its stream if half of it is
consumed within about one round trip; then it grows, at first fourfold, and twofold after the first
time that it was large enough.  The round trip is measured without a frame of its own: from the
announcement of credit until the first byte arrives that needed it.  A sender that has little to
send answers late, so a measurement is never too short, and the shortest one is taken.  A path can
become slower, though: where nothing was under way when the credit was announced, no queue of our
own is in the measurement, and several such in a row are believed also when they are longer.

Bounds.  What windows take above their initial size comes out of a *budget* that the whole program
shares.  A session holds a *share* of it, and never more than it leaves free: one session may take
half, two a third each, and the next one always finds something.  The same rule divides a share
among streams.  What a peer does to look far away or busy gets it no more than that.

Credit cannot be taken back.  Where a budget is short, a window becomes smaller by not renewing
what is used up, and its charge falls as that happens (`charged`): the sum of all charges never
exceeds the budget, and neither does the credit above the initial windows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from tunnelkit import limits
from tunnelkit.errors import RemoteProtocolError

__all__ = ["BudgetShare", "Budgets", "ReceiveWindow", "RoundTrip", "WindowBudget"]

LEAST_SECONDS: Final = 0.003
"""A round trip is taken for at least this, seconds: a busy machine answers no sooner."""

SHORT_PATH_BYTES: Final = 4 * limits.MIB
"""Windows on shorter paths than that grow no larger, bytes: it is enough for 11 Gbit/s.  Otherwise
whoever fills the buffers of a machine quickly, and is read no more, would be granted much."""

NEAR_BYTES: Final = 1 * limits.MIB
"""What they may grow to in any case, bytes; more only where the round trip asks for it.  On one
machine that is enough for any rate, stays in its caches, and what waits in the buffers of the
system is what a small message of another stream waits for."""

NEAR_RATE: Final = 2 * 1.4e9
"""Bytes a second that a window on a short path is made for: twice 11 Gbit/s."""

IDLE_TRIPS: Final = 8
"""So many measurements in a row, with nothing else under way, show what the path is like now."""

GROW_WITHIN: Final = 1.5
"""A window grows if half of it is consumed within this many round trips."""

SPARE_AFTER: Final = 6.0
"""A window is larger than it need be if half of it lasts for this many round trips."""

RAMP_FACTOR: Final = 4
"""By how much a window grows until it was large enough once: five times to 64 MiB."""

SCARCE_PART: Final = 4
"""A budget is scarce when less than one in so many bytes of it is free."""

_EVER: Final = float("inf")


class WindowBudget:
    """Bytes that the windows of one kind may take above their initial sizes, in all sessions."""

    __slots__ = ("free_bytes", "total_bytes")

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.free_bytes = total_bytes

    @property
    def is_scarce(self) -> bool:
        """Whether so little is left that nobody should hold more than it needs."""
        return self.free_bytes * SCARCE_PART < self.total_bytes


@dataclass(frozen=True, slots=True)
class Budgets:
    """What the sessions of one program share: for unread bytes, and for unacknowledged ones."""

    streams: WindowBudget = field(
        default_factory=lambda: WindowBudget(limits.DEFAULT_STREAM_BUDGET_BYTES)
    )
    replay: WindowBudget = field(
        default_factory=lambda: WindowBudget(limits.DEFAULT_REPLAY_BUDGET_BYTES)
    )


class BudgetShare:
    """What one session holds of a budget.  It takes only what leaves as much free as it holds."""

    __slots__ = ("budget", "held_bytes")

    def __init__(self, budget: WindowBudget) -> None:
        self.budget = budget
        self.held_bytes = 0

    def take(self, count: int, holding: int = 0) -> bool:
        """Take *count* bytes for a window, if there is room for them.

        Args:
            holding: what this window holds already.  It is to leave as much of the share to the
                other windows as it then holds.
        """
        room = (self.budget.free_bytes - self.held_bytes) // 2
        if holding + 2 * count > room:
            return False
        self.budget.free_bytes -= count
        self.held_bytes += count
        return True

    def give(self, count: int) -> None:
        """Give *count* bytes back."""
        self.budget.free_bytes += count
        self.held_bytes -= count

    @property
    def is_too_large(self) -> bool:
        """Whether it holds more than is free: others have come, and it is to shrink."""
        return self.held_bytes > self.budget.free_bytes


class RoundTrip:
    """The shortest time from this side to the peer and back that was seen, 0 for none yet."""

    __slots__ = ("_idle", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self._idle: deque[float] = deque(maxlen=IDLE_TRIPS)

    def see(self, seconds: float, *, was_idle: bool = False) -> None:
        """Take a measurement, which may be too long but not too short.

        Args:
            was_idle: nothing else was under way.
        """
        seconds = min(seconds, limits.MAX_ROUND_TRIP_SECONDS)
        if was_idle:
            self._idle.append(seconds)
            if len(self._idle) == IDLE_TRIPS:
                self.seconds = min(self._idle)
        if not self.seconds or seconds < self.seconds:
            self.seconds = seconds

    def forget(self) -> None:
        """The path is another one now."""
        self.seconds = 0.0
        self._idle.clear()


def _most_for(round_trip_seconds: float, maximum: int) -> int:
    """Return what a window may grow to on a path of that length, bytes; 0 seconds: unknown."""
    if round_trip_seconds >= LEAST_SECONDS:
        return maximum
    wanted = max(NEAR_BYTES, int(round_trip_seconds * NEAR_RATE))
    return min(maximum, SHORT_PATH_BYTES, wanted)


class ReceiveWindow:
    """What the peer may still send in one direction of a stream.

    Invariants: ``consumed <= received <= granted``, and ``granted - consumed`` is at most the
    initial size and `charged`.
    """

    __slots__ = (
        "_alarm",
        "_asked_at",
        "_is_ramping",
        "_updated_at",
        "_was_idle",
        "charged",
        "consumed",
        "granted",
        "maximum",
        "received",
        "size",
    )

    def __init__(self, maximum: int = limits.MAX_STREAM_WINDOW_BYTES) -> None:
        self.size: int = limits.INITIAL_STREAM_WINDOW_BYTES
        self.maximum = maximum
        self.received = 0
        self.consumed = 0
        self.granted = self.size
        self.charged = 0
        self._is_ramping = True
        self._updated_at = -_EVER
        # The first byte that was not allowed before `_asked_at`, or that is not allowed at all.
        self._alarm = self.granted
        self._asked_at: float | None = None
        self._was_idle = False

    def arrive(self, count: int) -> bool:
        """Count bytes that arrived; say whether they end a measurement (`answered`).

        Raises:
            RemoteProtocolError: the peer sent more than it had credit for.
        """
        self.received += count
        return self.received > self._alarm and self._is_answer()

    def _is_answer(self) -> bool:
        if self.received > self.granted:
            raise RemoteProtocolError("data beyond the stream's credit")
        self._alarm = self.granted
        return True

    def answered(self, now: float, round_trip: RoundTrip) -> None:
        """The byte that ends a measurement arrived a moment ago."""
        if self._asked_at is not None:
            round_trip.see(now - self._asked_at, was_idle=self._was_idle)
            self._asked_at = None

    def consume(self, count: int) -> bool:
        """Count bytes that were used; say whether new credit should be announced."""
        self.consumed += count
        return (self.granted - self.consumed) * 2 <= self.size

    def update(self, now: float, share: BudgetShare, round_trip_seconds: float = 0.0) -> int:
        """Return the absolute credit to announce; grow or shrink first where that is due."""
        if self.consumed + self.size > self.granted:
            trips = (now - self._updated_at) / max(round_trip_seconds, LEAST_SECONDS)
            if share.is_too_large or (trips > SPARE_AFTER and share.budget.is_scarce):
                self._shrink()
            elif trips <= GROW_WITHIN:
                self._grow(share, _most_for(round_trip_seconds, self.maximum))
            elif trips < _EVER:
                self._is_ramping = False
        self._updated_at = now
        self._grant(now)
        self._settle(share, max(self.size, self.granted - self.consumed))
        return self.granted

    def _grow(self, share: BudgetShare, most: int) -> None:
        for factor in (RAMP_FACTOR, 2) if self._is_ramping else (2,):
            size = min(self.size * factor, most)
            more = max(size, self.granted - self.consumed) - self._initial - self.charged
            if size > self.size and (more <= 0 or share.take(more, self.charged)):
                self.size = size
                self.charged += max(0, more)
                return

    def _shrink(self) -> None:
        """Halve; what was granted beyond that stays until it is used up."""
        self.size = max(self._initial, self.size // 2)
        self._is_ramping = False

    def _grant(self, now: float) -> None:
        before = self.granted
        self.granted = max(before, self.consumed + self.size)
        if self._asked_at is None and self.granted > before:
            self._asked_at, self._alarm = now, before
            self._was_idle = self.received == before

    def close(self, share: BudgetShare, unread: int = 0) -> None:
        """No more bytes will come: hold the budget only for what is still *unread*."""
        self._settle(share, unread)

    def _settle(self, share: BudgetShare, held: int) -> None:
        spare = self.charged - max(0, held - self._initial)
        if spare > 0:
            self.charged -= spare
            share.give(spare)

    @property
    def _initial(self) -> int:
        return limits.INITIAL_STREAM_WINDOW_BYTES
