"""One direction of a long path: a queue, a rate, a delay and some loss (no I/O).

How it works
------------
A packet waits until the packets before it have left, takes its own length over the rate to leave,
and arrives a fixed delay later.  The queue before the link is bounded as a router's is: a packet
that finds no room is dropped, and TCP has to notice.  All of it is arithmetic on arrival times,
so that a program that wakes up late by a fraction of a millisecond keeps the rate all the same.
"""

from __future__ import annotations

import random

__all__ = ["Shaper"]


class Shaper:
    """Decides when, and whether, each packet of one direction arrives.

    Args:
        rate: of the link, bytes a second.
        delay: from the end of the link on, seconds.
        queue_bytes: most that may wait for the link.
        loss: share of the packets that are lost after they have left.
        seed: of the loss, so that every run loses alike.
    """

    def __init__(
        self, rate: float, delay: float, queue_bytes: int, loss: float = 0.0, seed: int = 0
    ) -> None:
        self.passed_count = 0
        self.full_count = 0
        """Packets dropped because the queue was full."""
        self.lost_count = 0
        """Packets lost on the way, as the profile wants it."""
        self._rate = rate
        self._delay = delay
        self._queue_seconds = queue_bytes / rate
        self._loss = loss
        self._random = random.Random(seed)
        self._free_at = 0.0

    def admit(self, size: int, now: float) -> float | None:
        """Take a packet of *size* bytes; return when it arrives, or None if it never does.

        The times returned never decrease.
        """
        start = max(self._free_at, now)
        took = size / self._rate
        if start - now + took > self._queue_seconds:
            self.full_count += 1
            return None
        self._free_at = start + took
        if self._loss and self._random.random() < self._loss:
            self.lost_count += 1
            return None
        self.passed_count += 1
        return self._free_at + self._delay
