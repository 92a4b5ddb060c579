"""Calls over one connection, as many as are answered: the client of grpcio.

    python grpc_client.py HOST:PORT IN_FLIGHT SECONDS MESSAGE

Every call sends MESSAGE and must be answered by MESSAGE.  Prints one JSON line: `calls`, `micros`,
and percentiles of how long a call took.  Bytes go in and out as they are.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc

METHOD = "/benchmark.Target/Call"

SHARES = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}


async def call_until(
    call: Callable[[bytes], Any], message: bytes, end: float, times: list[float]
) -> None:
    """Call again and again until the clock shows *end*; *times* gets the seconds of each call."""
    before = time.perf_counter()
    while before < end:
        answer = await call(message)
        now = time.perf_counter()
        if answer != message:
            sys.exit(f"the answer was {answer[:40]!r}")
        times.append(now - before)
        before = now


async def drive(door: str, in_flight: int, seconds: float, message: bytes) -> dict[str, float]:
    """Call for so long, and return what came of it."""
    times: list[float] = []
    async with grpc.aio.insecure_channel(door) as channel:
        call = channel.unary_unary(METHOD)
        await call(message)  # the connection is made, and the target found
        began = time.perf_counter()
        one = partial(call_until, call, message, began + seconds, times)
        await asyncio.gather(*(one() for _ in range(in_flight)))
        micros = (time.perf_counter() - began) * 1e6
    times.sort()
    shares = {name: times[int(part * (len(times) - 1))] * 1e6 for name, part in SHARES.items()}
    return {"calls": len(times), "micros": micros, **shares}


if __name__ == "__main__":
    _, where, count, duration, text = sys.argv
    told = asyncio.run(drive(where, int(count), float(duration), text.encode()))
    print(json.dumps(told))
