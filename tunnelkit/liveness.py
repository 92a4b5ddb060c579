"""Is the peer still there: the decision, without clock or timer (no I/O).

Any inbound byte counts.  Silence is counted in ticks, a fraction of the ping time each, so that the
last byte's age is known well enough: after one ping time of silence a ping goes out, after two the
peer is suspect, after three it is gone.  A wall clock that runs ahead of the monotonic one means
that the machine slept (the lid of a laptop): then the peer is asked at once.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["TICKS", "Health", "Liveness"]

TICKS: Final = 3
"""Looks in each ping time; what is found late is late by one of them."""

_JUMP_SECONDS: Final = 2.0
"""A wall clock that runs this much ahead of the monotonic one has jumped."""


class Health(Enum):
    """How sure we are that the peer is there."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


class Liveness:
    """What is known of a peer's life.

    Args:
        wall: unix seconds now.
        clock: seconds of a clock that does not jump, now.
    """

    def __init__(self, wall: float, clock: float) -> None:
        self._ahead = wall - clock
        self._silent_ticks = 0
        self.health = Health.UP
        self.probe_is_due = True

    def tick(self, heard: bool, wall: float, clock: float) -> None:
        """Judge anew; `health` and `probe_is_due` say what is known and what to do.

        Args:
            heard: whether a byte arrived since the last tick.
        """
        ahead = wall - clock
        jumped = ahead - self._ahead > _JUMP_SECONDS
        self._ahead = ahead
        self._silent_ticks = 0 if heard else self._silent_ticks + 1
        # The last byte is at least this many ticks old, and less than one tick older.
        silent_pings = (self._silent_ticks + 1) // TICKS
        self.health = (Health.UP, Health.UP, Health.SUSPECT, Health.DOWN)[min(silent_pings, 3)]
        self.probe_is_due = jumped or (not heard and (self._silent_ticks + 1) % TICKS == 0)
