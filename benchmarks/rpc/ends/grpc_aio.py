"""gRPC on asyncio: the server and the client of grpc.aio."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc

from benchmarks.rpc.drive import (
    IN_FLIGHT,
    Told,
    call_until,
    call_until_done,
    count_items,
    pieces,
)
from benchmarks.rpc.ends.grpc_shapes import (
    ADD,
    OPTIONS,
    PAYLOAD,
    SUMS,
    Add,
    Handlers,
    Sum,
    as_is,
    reader,
    write,
)

HOST = "127.0.0.1"


async def _add(request: Add, _: Any) -> Sum:
    return Sum(request.a + request.b)


async def _sums(request: Add, _: Any) -> AsyncIterator[Sum]:
    number = request.a
    while True:
        number += 1
        yield Sum(number)


async def _payload(_: Add, __: Any) -> AsyncIterator[bytes]:
    for piece in pieces():
        yield piece


async def serve() -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((Handlers(_add, _sums, _payload),))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    print(f"ready {port}", flush=True)
    await server.wait_for_termination()


async def _calls(channel: Any, seconds: float, in_flight: int) -> Told:
    add = channel.unary_unary(ADD, write, reader(Sum))
    began = time.perf_counter()
    call = partial(add, Add(1, 2))
    work = [call_until(call, began + seconds) for _ in range(in_flight)]
    counts = await asyncio.gather(*work)
    return Told(sum(counts), time.perf_counter() - began)


async def _items(channel: Any, seconds: float) -> Told:
    began = time.perf_counter()
    items = channel.unary_stream(SUMS, write, reader(Sum))(Add(1))
    count = await count_items(items, began + seconds)
    items.cancel()
    return Told(count, time.perf_counter() - began)


async def _beside(channel: Any, _: float) -> Told:
    received = 0

    async def receive() -> None:
        nonlocal received
        async for piece in channel.unary_stream(PAYLOAD, write, as_is)(Add(1)):
            received += len(piece)

    add = channel.unary_unary(ADD, write, reader(Sum))
    task = asyncio.create_task(receive())
    told = await call_until_done(partial(add, Add(1, 2)), task.done)
    await task
    return Told(told.count, told.seconds, told.p50_us, told.p99_us, received)


CASES: dict[str, Callable[[Any, float], Awaitable[Told]]] = {
    "calls_1": partial(_calls, in_flight=1),
    "calls_64": partial(_calls, in_flight=IN_FLIGHT),
    "items": _items,
    "beside_payload": _beside,
}


async def drive(port: int, case: str, seconds: float) -> None:
    """Drive one case, and tell what came of it."""
    async with grpc.aio.insecure_channel(f"{HOST}:{port}", options=OPTIONS) as channel:
        await channel.channel_ready()
        told = await CASES[case](channel, seconds)
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
