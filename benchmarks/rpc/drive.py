"""How calls are counted: the same for every subject, whatever it waits with (no I/O of its own)."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Final

__all__ = [
    "IN_FLIGHT",
    "PAYLOAD_BYTES",
    "PIECE",
    "Told",
    "call_until",
    "call_until_done",
    "count_items",
    "percentile",
    "pieces",
]

IN_FLIGHT: Final = 64
PAYLOAD_BYTES: Final = 100 * 1024 * 1024
PIECE: Final = bytes(64 * 1024)

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Told:
    """What a driver found out."""

    count: int
    """Calls, or items, in all."""
    seconds: float
    p50_us: float = 0.0
    """Of one call, microseconds; 0 where single calls were not timed."""
    p99_us: float = 0.0
    payload_bytes: int = 0
    """How much moved beside them."""

    def print(self) -> None:
        """Tell whoever started this program."""
        print(json.dumps(asdict(self)), flush=True)


def percentile(sorted_values: list[float], share: float) -> float:
    """Return the value below which *share* of them lie; 0 of none."""
    if not sorted_values:
        return 0.0
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


async def call_until(call: Call, end: float) -> int:
    """Call again and again until the clock shows *end*; return how often."""
    count = 0
    while time.perf_counter() < end:
        await call()
        count += 1
    return count


async def call_until_done(call: Call, is_done: Callable[[], bool]) -> Told:
    """Call until something else is done, and time each call."""
    waits: list[float] = []
    began = before = time.perf_counter()
    while not is_done():
        await call()
        now = time.perf_counter()
        waits.append(now - before)
        before = now
    waits.sort()
    p50, p99 = (percentile(waits, share) * 1e6 for share in (0.5, 0.99))
    return Told(len(waits), before - began, p50, p99)


async def count_items(items: AsyncIterator[object], end: float) -> int:
    """Take items until the clock shows *end*; return how many."""
    count = 0
    async for _ in items:
        count += 1
        if time.perf_counter() >= end:
            break
    return count


def pieces() -> Iterator[bytes]:
    """Yield the payload in pieces."""
    for _ in range(PAYLOAD_BYTES // len(PIECE)):
        yield PIECE
