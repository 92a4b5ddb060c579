"""aiorpcX: JSON-RPC over lines on TCP, both ways, on asyncio."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import aiorpcx

from benchmarks.rpc.drive import IN_FLIGHT, Told, call_until

HOST = "127.0.0.1"


async def call_many(session: Any, seconds: float, in_flight: int) -> int:
    """Call for that long, so many at once; return how often."""
    end = time.perf_counter() + seconds
    call = partial(session.send_request, "add", {"a": 1, "b": 2})
    return sum(await asyncio.gather(*[call_until(call, end) for _ in range(in_flight)]))


class _Session(aiorpcx.RPCSession):  # type: ignore[misc] # it has no types
    # It throttles by default: no limits, and no cost of anything.
    cost_hard_limit = 0
    initial_concurrent = 2 * IN_FLIGHT
    bw_unit_cost = 0

    async def _add(self, a: int, b: int) -> dict[str, int]:
        return {"total": a + b}

    async def _call_back(self, seconds: float, in_flight: int) -> int:
        return await call_many(self, seconds, in_flight)

    async def handle_request(self, request: Any) -> Any:
        handler = {"add": self._add, "call_back": self._call_back}[request.method]
        return await aiorpcx.handler_invocation(handler, request)()


async def serve() -> None:
    """Serve until the process is ended."""
    server = await aiorpcx.serve_rs(_Session, HOST, 0)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def _one(session: Any, seconds: float, in_flight: int) -> Told:
    began = time.perf_counter()
    count = await call_many(session, seconds, in_flight)
    return Told(count, time.perf_counter() - began)


async def _both(session: Any, seconds: float, in_flight: int) -> Told:
    began = time.perf_counter()
    counts = await asyncio.gather(
        call_many(session, seconds, in_flight),
        session.send_request("call_back", [seconds, in_flight]),
    )
    return Told(sum(counts), time.perf_counter() - began)


CASES: dict[str, Callable[[Any, float], Awaitable[Told]]] = {
    "calls_1": partial(_one, in_flight=1),
    "calls_64": partial(_one, in_flight=IN_FLIGHT),
    "both_1": partial(_both, in_flight=1),
    "both_64": partial(_both, in_flight=IN_FLIGHT),
}


async def drive(port: int, case: str, seconds: float) -> None:
    """Drive one case, and tell what came of it."""
    async with aiorpcx.connect_rs(HOST, port, session_factory=_Session) as session:
        session.sent_request_timeout = 3600
        told = await CASES[case](session, seconds)
    told.print()


def main(arguments: list[str]) -> None:
    """Run the command line."""
    if arguments == ["serve"]:
        asyncio.run(serve())
    else:
        _, port, case, seconds = arguments
        asyncio.run(drive(int(port), case, float(seconds)))


if __name__ == "__main__":
    main(sys.argv[1:])
