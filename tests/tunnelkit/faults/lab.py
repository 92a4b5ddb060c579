"""A laboratory: brokers and endpoints on named hosts of one memory network, and transfers.

Everything listens on the same port of its own host, so that a broker that comes back is found where
it was.  Host and subject have the same name.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Any, Final, TypeVar

import trio

from tests.tunnelkit.pairs import RING, make_identity
from tunnelkit.addresses import Address
from tunnelkit.auth import Identity
from tunnelkit.broker import Broker, open_broker
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.pump import acquire_pump, release_pump
from tunnelkit.session import Session
from tunnelkit.stream import Stream
from tunnelkit.testing import MemoryNetwork

__all__ = [
    "PORT",
    "Lab",
    "address",
    "exchange",
    "open_lab",
    "pattern",
    "serve_exchange",
    "transfer",
]

PORT: Final = 7000
T = TypeVar("T")


class Lab:
    """One memory network with what runs on it."""

    def __init__(self, network: MemoryNetwork, nursery: trio.Nursery) -> None:
        self.network = network
        self.nursery = nursery
        self.wall = time.time()
        self.brokers: dict[str, Broker] = {}
        self._scopes: dict[str, trio.CancelScope] = {}

    def clock(self) -> float:
        """The unix clock of all hosts; a test may set `wall`."""
        return self.wall

    def identity(self, name: str, **claims: Any) -> Identity:
        """Return an identity that is valid from now on."""
        return make_identity(name, now=self.wall, **claims)

    async def run(self, name: str, opened: AbstractAsyncContextManager[T]) -> T:
        """Enter *opened* in a task of its own, which lasts as long as the laboratory; return what
        it gives.  `end` leaves it earlier."""

        async def hold(*, task_status: trio.TaskStatus[T]) -> None:
            with trio.CancelScope() as self._scopes[name]:
                async with opened as value:
                    task_status.started(value)
                    await trio.sleep_forever()

        value: T = await self.nursery.start(hold)
        return value

    def end(self, name: str) -> None:
        """Leave what runs under a name, in the ordinary way."""
        self._scopes.pop(name).cancel()

    def kill(self, name: str = "broker") -> None:
        """End what runs on a host as `kill -9` does: what was written and not sent is lost."""
        self.network.host(name).crash()
        self.end(name)

    # --- brokers ----------------------------------------------------------------------------

    async def broker(self, name: str = "broker", **options: Any) -> Broker:
        """Start a broker, or start it again."""
        host = self.network.host(name)
        host.restart()
        options.setdefault("clock", self.clock)
        opened = open_broker(RING, listen=[address(name)], network=host, **options)
        self.brokers[name] = await self.run(name, opened)
        return self.brokers[name]

    # --- endpoints --------------------------------------------------------------------------

    async def endpoint(self, name: str, *brokers: str, **options: Any) -> Endpoint:
        """Open an endpoint that dials *brokers* ("broker" if none is named); it lasts as long
        as the laboratory."""
        opened = self.open_endpoint(name, *brokers, **options)
        return await self.run(options.get("host", name), opened)

    @asynccontextmanager
    async def open_endpoint(
        self, name: str, *brokers: str, host: str = "", **options: Any
    ) -> AsyncGenerator[Endpoint]:
        """Open an endpoint for a block."""
        claims = {key: options.pop(key) for key in ("peers", "targets") if key in options}
        identity = options.pop("identity", None) or self.identity(name, **claims)
        options.setdefault("clock", self.clock)
        async with open_endpoint(
            identity,
            RING,
            dial=[address(broker) for broker in brokers or ("broker",)],
            network=self.network.host(host or name),
            **options,
        ) as endpoint:
            yield endpoint


def address(host: str, port: int = PORT) -> Address:
    """Return the address of what listens on a host."""
    return Address("memory", host, port)


@asynccontextmanager
async def open_lab(seed: int = 0, **options: Any) -> AsyncGenerator[Lab]:
    """Open a laboratory; all that was opened in it ends with the block."""
    pump = acquire_pump()
    try:
        async with trio.open_nursery() as nursery:
            yield Lab(MemoryNetwork(seed, **options), nursery)
            nursery.cancel_scope.cancel()
    finally:
        await release_pump(pump)


# --- transfers -----------------------------------------------------------------------------


def pattern(name: str, size: int) -> bytes:
    """Return *size* bytes that no other *name* has."""
    return Random(name).randbytes(size)


async def exchange(stream: Stream, mine: bytes, theirs: bytes) -> None:
    """Send *mine* and receive *theirs* at once; assert that every byte is as it should be."""

    async def send() -> None:
        await stream.send_all(mine)
        await stream.send_eof()

    received = bytearray()
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        async for chunk in stream:
            received += chunk
    assert len(received) == len(theirs)
    assert bytes(received) == theirs


async def serve_exchange(endpoint: Endpoint) -> None:
    """Serve streams whose target says "NAME SIZE": exchange patterns of that size."""

    async def handle(stream: Stream) -> None:
        name, size = stream.target.split(":")
        down, up = (pattern(f"{name}/{way}", int(size)) for way in ("down", "up"))
        await exchange(stream, down, up)

    await endpoint.serve(handle)


async def transfer(session: Session, name: str, size: int) -> None:
    """Exchange patterns with a peer that runs `serve_exchange`."""
    stream = await session.open_stream(f"{name}:{size}")
    await exchange(stream, pattern(f"{name}/up", size), pattern(f"{name}/down", size))
