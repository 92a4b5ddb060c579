"""What one process holds while it idles, and the hosts: what listens for streams, links, sessions.

Streams are held as objects, with no task that waits on one; served ones have the task of their
handler, which waits for bytes.  One key signs all tokens and holds them.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.idle.cases import Thing
from tunnelkit import limits
from tunnelkit.auth import Identity, KeyRing, mint
from tunnelkit.broker import Broker, open_broker
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.errors import LocalProtocolError
from tunnelkit.session import Session
from tunnelkit.stream import Stream, StreamReset
from tunnelkit.wire.stream import StreamCore

__all__ = ["HOST", "Ends", "make_identity", "open_host"]

ANYWHERE: Final = "tcp://127.0.0.1:0"
HOST: Final = "host"

BUDGET_BYTES: Final = 16 * 1024 * limits.MIB
"""Of a broker: its default admits 2,048 sessions at the least cap. It is no memory, only leave."""

LIFETIME_SECONDS: Final = 3600


class Ends(ABC):
    """What one process holds."""

    address = ""

    @abstractmethod
    def count(self) -> int:
        """How many are held."""

    async def grow(self, more: int) -> None:
        """Open *more*; what cannot says so."""
        raise LocalProtocolError(f"{type(self).__name__} opens nothing by itself")


class StreamHost(Ends):
    """An endpoint that keeps every stream that it is offered."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.address = str(endpoint.addresses[0])
        self._endpoint = endpoint
        self._streams: list[Stream] = []
        endpoint.on_stream = self._accept

    def _accept(self, session: Session, core: StreamCore) -> None:
        self._streams.append(Stream(core, session, self._endpoint.pump))
        core.accept()

    def count(self) -> int:
        return len(self._streams)


class ServingHost(Ends):
    """An endpoint whose handler waits for the first byte of each stream."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.address = str(endpoint.addresses[0])
        self._count = 0

    async def handle(self, stream: Stream) -> None:
        """Serve one stream."""
        self._count += 1
        with suppress(StreamReset):  # the end of the benchmark
            await stream.receive_some()

    def count(self) -> int:
        return self._count


class LinkHost(Ends):
    """An endpoint with the links that were made to it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.address = str(endpoint.addresses[0])
        self._endpoint = endpoint

    def count(self) -> int:
        return len(self._endpoint.links)


class BrokerHost(Ends):
    """A broker with the links and sessions that were made to it."""

    def __init__(self, broker: Broker, thing: Thing) -> None:
        self.address = str(broker.addresses[0])
        self._broker = broker
        self._thing = thing

    def count(self) -> int:
        if self._thing is Thing.SESSION:
            return self._broker.registry.joined_count
        return len(self._broker.links)


@asynccontextmanager
async def open_host(
    thing: Thing, *, is_broker: bool, key: Ed25519PrivateKey
) -> AsyncGenerator[Ends]:
    """Open what listens."""
    ring = KeyRing([key.public_key()])
    if is_broker:
        async with open_broker(ring, listen=[ANYWHERE], budget_bytes=BUDGET_BYTES) as broker:
            yield BrokerHost(broker, thing)
    else:
        async with open_endpoint(make_identity(HOST, key), ring, listen=[ANYWHERE]) as endpoint:
            match thing:
                case Thing.STREAM:
                    yield StreamHost(endpoint)
                case Thing.SERVED:
                    async with trio.open_nursery() as nursery:
                        host = ServingHost(endpoint)
                        nursery.start_soon(endpoint.serve, host.handle)
                        yield host
                        nursery.cancel_scope.cancel()
                case _:
                    yield LinkHost(endpoint)


def make_identity(subject: str, key: Ed25519PrivateKey, peer: str = "*") -> Identity:
    """Return an identity that may meet *peer* and open everything."""
    holder = key.public_key().public_bytes_raw()
    token = mint(
        key,
        subject=subject,
        holder=holder,
        lifetime_seconds=LIFETIME_SECONDS,
        peers=[peer],
        targets=["*"],
        now=time.time(),
    )
    return Identity(key, token)
