"""The makers: what dials a host and opens streams, links or sessions.

The links of a maker belong to as many subjects, each with an instance and a token of its own,
because a host keeps one link of each; their tokens let them meet nobody, so that no word of one
reaches the others.  The sessions in a broker join pairs of endpoints, both of them the maker's.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.idle.cases import Thing
from benchmarks.idle.ends import HOST, Ends, make_identity
from tunnelkit.addresses import parse_address
from tunnelkit.auth import KeyRing
from tunnelkit.carriers import SYSTEM_NETWORK, connect
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.errors import ErrorCode, LinkError, OpenRefused
from tunnelkit.handshake import Dialing
from tunnelkit.link import Link, new_instance
from tunnelkit.pump import Pump, acquire_pump, release_pump
from tunnelkit.session import Session
from tunnelkit.stream import Stream
from tunnelkit.wire.frames import FrameType

__all__ = ["open_maker"]

AT_A_TIME: Final = 32
"""How many are opened at the same time: fewer than a listener's backlog."""

PAUSE_SECONDS: Final = 0.1

PAIRS: Final = 4
"""Pairs of endpoints that share the sessions, so that no link has more than it may."""


class StreamMaker(Ends):
    """An endpoint that opens streams in one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._streams: list[Stream] = []

    def count(self) -> int:
        return len(self._streams)

    async def grow(self, more: int) -> None:
        await make_many(more, self._make)

    async def _make(self, number: int) -> None:
        while True:
            try:
                self._streams.append(await self._session.open_stream("idle"))
                return
            except OpenRefused as error:
                if error.code != ErrorCode.LIMIT_EXCEEDED:
                    raise
                await trio.sleep(PAUSE_SECONDS)  # so many a second is all that a peer may open


class LinkMaker(Ends):
    """Links without an endpoint above them."""

    def __init__(self, address: str, key: Ed25519PrivateKey, pump: Pump) -> None:
        self._address = parse_address(address)
        self._key = key
        self._pump = pump
        self._links: list[Link] = []

    def count(self) -> int:
        return sum(link.is_up for link in self._links)

    async def grow(self, more: int) -> None:
        first = len(self._links)
        await make_many(more, lambda number: self._make(first + number))

    async def _make(self, number: int) -> None:
        pipe = await connect(SYSTEM_NETWORK, self._address, self._pump)
        identity = make_identity(f"idle-{number}", self._key, "nobody")
        owner = LonelyOwner()
        link = Link(pipe, Dialing(identity, new_instance(), os.urandom(32)), owner)
        self._links.append(link)
        link.start()
        await owner.settled.wait()
        if link.error is not None:
            raise link.error

    def close(self) -> None:
        """Close all links."""
        for link in self._links:
            link.close(LinkError("the benchmark is over"))


class LonelyOwner:
    """The owner of a link that nobody uses."""

    def __init__(self) -> None:
        self.settled = trio.Event()

    def link_up(self, link: Link) -> None:
        self.settled.set()

    def link_closed(self, link: Link, error: LinkError) -> None:
        self.settled.set()

    def health_changed(self, link: Link) -> None: ...

    def hop_frame(self, link: Link, kind: FrameType, session: int, payload: memoryview) -> None: ...

    def stray_frame(
        self, link: Link, kind: int, flags: int, session: int, payload: memoryview
    ) -> None: ...


class SessionMaker(Ends):
    """Pairs of endpoints, joined by a broker, and the sessions of each pair."""

    def __init__(self, pairs: Sequence[tuple[Endpoint, Endpoint]]) -> None:
        self._pairs = pairs
        self._sessions: list[Session] = []

    def count(self) -> int:
        return sum(session.ended is None for session in self._sessions)

    async def grow(self, more: int) -> None:
        await make_many(more, self._make)

    async def _make(self, number: int) -> None:
        opener, acceptor = self._pairs[number % len(self._pairs)]
        self._sessions.append(await opener.open_session(acceptor.subject))


@asynccontextmanager
async def open_maker(thing: Thing, address: str, key: Ed25519PrivateKey) -> AsyncGenerator[Ends]:
    """Open what dials *address*."""
    ring = KeyRing([key.public_key()])
    if thing is Thing.LINK:
        pump = acquire_pump()
        try:
            maker = LinkMaker(address, key, pump)
            yield maker
            maker.close()
        finally:
            await release_pump(pump)
        return
    async with AsyncExitStack() as stack:

        async def enter(subject: str, peer: str) -> Endpoint:
            identity = make_identity(subject, key, peer)
            return await stack.enter_async_context(open_endpoint(identity, ring, dial=[address]))

        if thing in (Thing.STREAM, Thing.SERVED):
            endpoint = await enter("maker", HOST)
            yield StreamMaker(await endpoint.open_session(HOST))
        else:
            names = [(f"left-{n}", f"right-{n}") for n in range(PAIRS)]
            pairs = [(await enter(a, b), await enter(b, a)) for a, b in names]
            while not all(a.peers() and b.peers() for a, b in pairs):  # noqa: ASYNC110 # no event
                await trio.sleep(0.01)
            yield SessionMaker(pairs)


async def make_many(count: int, make: Callable[[int], Awaitable[None]]) -> None:
    """Call *make* with 0, 1, ... count - 1, a few at a time.

    Cancellation: keeps what was made.
    """
    numbers = iter(range(count))

    async def work(left: Iterator[int]) -> None:
        for number in left:
            await make(number)

    async with trio.open_nursery() as nursery:
        for _ in range(AT_A_TIME):
            nursery.start_soon(work, numbers)
