"""Our own peers: over lines on TCP, or over a WebSocket."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial

import attrs
import trio

from benchmarks.rpc.drive import (
    IN_FLIGHT,
    Told,
    call_until,
    call_until_done,
    count_items,
    pieces,
)
from tunnelkit.rpc import (
    Channel,
    LineChannel,
    NotServed,
    Peer,
    Service,
    accept_websocket,
    open_peer,
    open_websocket,
)

HOST = "127.0.0.1"


@attrs.frozen
class Sum:
    """What an addition gives."""

    total: int


class Adder(Service, name="adder"):
    """What is driven."""

    async def add(self, a: int, b: int) -> Sum:
        """Add two numbers."""
        raise NotServed

    def sums(self, a: int) -> AsyncIterator[Sum]:
        """Return sums without an end."""
        raise NotServed

    def payload(self) -> AsyncIterator[bytes]:
        """Return many bytes."""
        raise NotServed

    async def call_back(self, seconds: float, in_flight: int) -> int:
        """Call the caller for that long; return how often it answered."""
        raise NotServed


class RealAdder(Adder):
    """Serves it."""

    peer: Peer

    async def add(self, a: int, b: int) -> Sum:
        return Sum(a + b)

    async def sums(self, a: int) -> AsyncIterator[Sum]:
        number = a
        while True:
            number += 1
            yield Sum(number)

    async def payload(self) -> AsyncIterator[bytes]:
        for piece in pieces():
            yield piece

    async def call_back(self, seconds: float, in_flight: int) -> int:
        return await call_many(self.peer.proxy(Adder), seconds, in_flight)


async def call_many(adder: Adder, seconds: float, in_flight: int) -> int:
    """Call for that long, so many at once; return how often."""
    counts: list[int] = []
    end = time.perf_counter() + seconds

    async def work() -> None:
        counts.append(await call_until(partial(adder.add, 1, 2), end))

    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(work)
    return sum(counts)


async def serve(stream: trio.SocketStream, *, is_websocket: bool) -> None:
    """Serve one connection."""
    channel: Channel = await accept_websocket(stream) if is_websocket else LineChannel(stream)
    adder = RealAdder()
    async with open_peer(channel, serve=[adder]) as peer:
        adder.peer = peer
        await peer.wait_closed()


async def serve_all(*, is_websocket: bool) -> None:
    """Serve until the process is ended."""
    async with trio.open_nursery() as nursery:
        run = partial(trio.serve_tcp, partial(serve, is_websocket=is_websocket), 0, host=HOST)
        listeners = await nursery.start(run)
        print(f"ready {listeners[0].socket.getsockname()[1]}", flush=True)


async def _one(peer: Peer, seconds: float, in_flight: int) -> Told:
    began = time.perf_counter()
    count = await call_many(peer.proxy(Adder), seconds, in_flight)
    return Told(count, time.perf_counter() - began)


async def _both(peer: Peer, seconds: float, in_flight: int) -> Told:
    counts: list[int] = []
    adder = peer.proxy(Adder)

    async def back() -> None:
        counts.append(await adder.call_back(seconds, in_flight))

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(back)
        counts.append(await call_many(adder, seconds, in_flight))
    return Told(sum(counts), time.perf_counter() - began)


async def _items(peer: Peer, seconds: float) -> Told:
    began = time.perf_counter()
    async with aclosing(peer.proxy(Adder).sums(1)) as items:  # type: ignore[type-var] # it has one
        count = await count_items(items, began + seconds)
    return Told(count, time.perf_counter() - began)


async def _beside(peer: Peer, seconds: float) -> Told:
    received = 0
    is_done = False

    async def receive() -> None:
        nonlocal received, is_done
        async for piece in peer.proxy(Adder).payload():
            received += len(piece)
        is_done = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        told = await call_until_done(partial(peer.proxy(Adder).add, 1, 2), lambda: is_done)
    return Told(told.count, told.seconds, told.p50_us, told.p99_us, received)


CASES: dict[str, Callable[[Peer, float], Awaitable[Told]]] = {
    "calls_1": partial(_one, in_flight=1),
    "calls_64": partial(_one, in_flight=IN_FLIGHT),
    "both_1": partial(_both, in_flight=1),
    "both_64": partial(_both, in_flight=IN_FLIGHT),
    "items": _items,
    "beside_payload": _beside,
}


async def drive(port: int, case: str, seconds: float, *, is_websocket: bool) -> None:
    """Drive one case, and tell what came of it."""
    stream = await trio.open_tcp_stream(HOST, port)
    channel: Channel = LineChannel(stream)
    if is_websocket:
        channel = await open_websocket(stream, f"ws://{HOST}:{port}/")
    async with open_peer(channel, serve=[RealAdder()]) as peer:
        told = await CASES[case](peer, seconds)
    told.print()


def main(arguments: list[str], *, is_websocket: bool) -> None:
    """Run the command line."""
    if arguments == ["serve"]:
        trio.run(partial(serve_all, is_websocket=is_websocket))
    else:
        _, port, case, seconds = arguments
        run = partial(drive, int(port), case, float(seconds), is_websocket=is_websocket)
        trio.run(run)


if __name__ == "__main__":
    main(sys.argv[1:], is_websocket=False)
