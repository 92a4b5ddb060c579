"""The epoch of a service, as those who call it know it (no I/O).

A call carries the epoch that its caller has seen, and is refused where the state has changed since.
So what one has seen must not be renewed by what others look at: each proxy keeps an epoch of its
own, which the answers to its calls bring up to date.  A task that looks, decides and acts takes a
proxy for itself; tasks that share one share what they have seen.
"""

from __future__ import annotations

__all__ = ["Epoch"]


class Epoch:
    """What is known of the epoch of one service."""

    __slots__ = ("known",)

    def __init__(self, known: int | None = None) -> None:
        self.known = known
        """None: nothing."""

    def learn(self, told: int, carried: int | None) -> None:
        """An answer came; it may be older than one that came before it, which changes nothing.

        A service only counts up.  So one that tells less than the call had carried is not the one
        that was seen before: its program has begun anew, and what it tells counts.

        Args:
            told: the epoch in the answer.
            carried: the one in the call.
        """
        is_anew = carried is not None and told < carried
        if self.known is None or told > self.known or is_anew:
            self.known = told
