"""Keep a link up: dial, back off, dial again.

The decisions are plain: `next_delay` says how long to wait, `is_final` whether trying again makes
sense at all.  `keep_link` does it.  A laptop that wakes up has a wall clock ahead of its monotonic
one: then the wait ends at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from .addresses import Address
from .errors import ErrorCode, LinkError, LinkRefused

__all__ = ["is_final", "keep_link", "next_delay"]

FIRST_DELAY_SECONDS: Final = 0.05
MAX_DELAY_SECONDS: Final = 5.0
REFUSED_DELAY_SECONDS: Final = 15.0
"""A refusal is not going to change soon: somebody has to change a token or a key ring."""

MAX_RETRY_AFTER_SECONDS: Final = 60.0
"""The longest wait that a peer may ask for."""

GOOD_LINK_SECONDS: Final = 1.0
"""A link that was up for this long proves that dialling works: the next delay is short again."""

_TICK_SECONDS: Final = 0.5
_JUMP_SECONDS: Final = 2.0


def next_delay(failures: int, chance: float) -> float:
    """Return the seconds to wait after *failures* failures in a row.

    Args:
        failures: at least 1.
        chance: a random number from 0 to 1: half of the delay is jitter, so that many endpoints
            do not return to a restarted broker at the same moment.
    """
    full: float = min(FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 16), MAX_DELAY_SECONDS)
    return full * (0.5 + 0.5 * chance)


def is_final(error: LinkError) -> bool:
    """Say whether dialling again must not happen: another process took this one's place."""
    return isinstance(error, LinkRefused) and error.code == ErrorCode.DISPLACED


async def sleep_unless_clock_jumps(seconds: float) -> None:
    """Sleep, but no longer when the wall clock runs ahead: this machine was asleep.

    Cancellation: atomic.
    """
    until = trio.current_time() + seconds
    ahead = time.time() - trio.current_time()
    while (left := until - trio.current_time()) > 0:
        await trio.sleep(min(left, _TICK_SECONDS))
        if time.time() - trio.current_time() - ahead > _JUMP_SECONDS:
            return


async def keep_link(
    address: Address,
    hold: Callable[[Address], Awaitable[LinkError]],
    report: Callable[[Address, LinkError], None],
) -> None:
    """Keep a link to *address* up until cancelled, or until another process displaces this one.

    Args:
        address: where to dial.
        hold: makes a link, waits until it has ended, and returns or raises why.
        report: told of each failure.

    Cancellation: atomic; what *hold* made is its own affair.
    """
    failures = 0
    while True:
        started = trio.current_time()
        try:
            error = await hold(address)
        except LinkError as failed:
            error = failed
        report(address, error)
        if is_final(error):
            return
        was_good = trio.current_time() - started > GOOD_LINK_SECONDS
        failures = 1 if was_good else failures + 1
        delay = next_delay(failures, random.random())
        if isinstance(error, LinkRefused):
            delay = max(delay, REFUSED_DELAY_SECONDS)
        delay = max(delay, min(error.retry_after_seconds, MAX_RETRY_AFTER_SECONDS))
        await sleep_unless_clock_jumps(delay)
