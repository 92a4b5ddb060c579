"""Connect to whichever of several addresses answers first, in the pump.

How it works.  The addresses are tried in the order in which the name service gave them, families in
turns.  The next attempt begins when one fails, or a quarter of a second after the one before it, so
that a family that leads nowhere costs little (RFC 8305).  The first that succeeds is taken, and the
others are given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Final

from tunnelkit.addresses import Address
from tunnelkit.carriers import ConnectFailed, Network, Pending, Pipe
from tunnelkit.carriers.pipe import Connected
from tunnelkit.pump import Pump, Timer

__all__ = ["MAX_ADDRESSES", "connect_any"]

NEXT_ATTEMPT_SECONDS: Final = 0.25
"""How long an attempt has before the next one begins beside it, seconds (RFC 8305 §5)."""

MAX_ADDRESSES: Final = 16
"""Addresses of one name that are tried.  Stops: a name with very many, each a connect."""


def connect_any(
    network: Network, addresses: Sequence[Address], pump: Pump, done: Connected
) -> Pending:
    """Begin to connect to one of *addresses*; *done* is called later, with the last failure if none
    of them answers."""
    if len(addresses) == 1:
        return network.connect_nowait(addresses[0], pump, done)
    return _Attempts(network, in_turns(addresses)[:MAX_ADDRESSES], pump, done)


def in_turns(addresses: Iterable[Address]) -> list[Address]:
    """Return the addresses with their families in turns, beginning with the first one's."""
    families: dict[bool, list[Address]] = {}
    for address in addresses:
        families.setdefault(":" in address.host, []).append(address)
    rounds = zip_longest(*families.values())
    return [address for turn in rounds for address in turn if address is not None]


class _Attempts:
    def __init__(
        self, network: Network, addresses: list[Address], pump: Pump, done: Connected
    ) -> None:
        self._network = network
        self._left = addresses
        self._pump = pump
        self._done = done
        self._running: dict[Address, Pending] = {}
        self._timer: Timer | None = None
        self._is_over = False
        self._begin_next()

    def _begin_next(self) -> None:
        self._stop_timer()
        address = self._left.pop(0)

        def done(result: Pipe | ConnectFailed) -> None:
            self._finished(address, result)

        self._running[address] = self._network.connect_nowait(address, self._pump, done)
        if self._left:
            self._timer = self._pump.call_later(NEXT_ATTEMPT_SECONDS, self._begin_next)

    def _finished(self, address: Address, result: Pipe | ConnectFailed) -> None:
        self._running.pop(address, None)
        if self._is_over:
            if isinstance(result, Pipe):
                result.close()
        elif isinstance(result, Pipe) or not (self._left or self._running):
            self.cancel()
            self._done(result)
        elif self._left:
            self._begin_next()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def cancel(self) -> None:
        self._is_over = True
        self._stop_timer()
        for pending in self._running.values():
            pending.cancel()
        self._running.clear()
