"""Links whose owner writes down what happens, and peers that say whatever a test wants."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from trio.testing import wait_all_tasks_blocked

from tests.tunnelkit.pairs import RING, clock, make_identity
from tunnelkit.auth import Identity
from tunnelkit.carriers import Pipe, PipeBroken
from tunnelkit.errors import LinkError
from tunnelkit.handshake import Accepting, Dialing
from tunnelkit.link import Health, Link
from tunnelkit.pump import Pump
from tunnelkit.testing import MemoryNetwork, memory_pipe_pair
from tunnelkit.wire.frames import FrameType, Value, decode_fields, encode_fields, encode_frame
from tunnelkit.wire.reader import FrameReader, Scratch


async def settle() -> None:
    """Wait until everything that needs no time has happened."""
    await wait_all_tasks_blocked()


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def quiet_pump() -> Generator[None]:
    """Fail where the pump logs that a handler let an error out."""
    records = _Records()
    logger = logging.getLogger("tunnelkit.pump")
    logger.addHandler(records)
    try:
        yield
    finally:
        logger.removeHandler(records)
    assert not records.texts


class Owner:
    """Owns links, and remembers what it was told."""

    def __init__(self) -> None:
        self.up: list[Link] = []
        self.closed: list[LinkError] = []
        self.hops: list[tuple[FrameType, int, bytes]] = []
        self.strays: list[tuple[int, int]] = []
        self.healths: list[Health] = []
        self.on_hop: Callable[[Link], None] = lambda link: None

    def link_up(self, link: Link) -> None:
        self.up.append(link)

    def hop_frame(self, link: Link, kind: FrameType, session: int, payload: memoryview) -> None:
        self.hops.append((kind, session, bytes(payload)))
        self.on_hop(link)

    def stray_frame(
        self, link: Link, kind: int, flags: int, session: int, payload: memoryview
    ) -> None:
        self.strays.append((kind, session))

    def health_changed(self, link: Link) -> None:
        self.healths.append(link.health)

    def link_closed(self, link: Link, error: LinkError) -> None:
        self.closed.append(error)


@dataclass
class RawPeer:
    """The other end of a link, without the rules: `send` sends anything at all."""

    pipe: Pipe
    identity: Identity = field(default_factory=lambda: make_identity("mallory"))
    instance: bytes = b"i" * 16
    frames: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(type, session, payload) of what arrived."""
    streams: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(type, stream, payload) of the end-to-end frames among it."""
    ending: str = ""

    def __post_init__(self) -> None:
        self.handshake: Dialing | Accepting | None = None
        self._reader = FrameReader(Scratch(1 << 20))
        self._reader.max_payload_bytes = 1 << 19
        self.pipe.start(self._ready)
        self.pipe.want(readable=True, writable=False)

    def _ready(self, readable: bool, writable: bool) -> None:
        try:
            data = self.pipe.try_receive(65_536)
        except PipeBroken as error:
            self._end(str(error))
        else:
            if data and not self.frames and bytes(data[:5]) == b"HTTP/":
                self._end("http")  # what a link answers to a request; frames never begin so
            elif data:
                self._reader.feed(data, self._frame)
            elif data is not None:
                self._end("eof")

    def _end(self, how: str) -> None:
        self.ending = how
        self.pipe.want(readable=False, writable=False)

    def _frame(
        self, kind: int, flags: int, session: int, stream: int, sequence: int, payload: memoryview
    ) -> None:
        self.frames.append((kind, session, bytes(payload)))
        if kind >= 0x20:
            self.streams.append((kind, stream, bytes(payload)))
        if self.handshake is not None and self.handshake.peer is None and kind < 0x05:
            self.send(self.handshake.receive(kind, flags, payload))

    def deaf(self) -> None:
        """Read no more."""
        self.pipe.want(readable=False, writable=False)

    def send(self, data: bytes) -> None:
        """Send *data*, all of it or as much as the other side takes now."""
        self.pipe.try_send(data)

    def say(self, kind: FrameType, session: int = 0, **values: Value) -> None:
        """Send a well-formed hop frame."""
        self.send(encode_frame(kind, encode_fields(kind, **values), session=session))

    async def dial(self) -> None:
        """Make the hello as it should be."""
        self.handshake = Dialing(self.identity, self.instance, os.urandom(32))
        self.send(self.handshake.begin())
        await settle()
        assert self.handshake.peer is not None

    def received(self, kind: FrameType) -> list[dict[str, Value]]:
        """Return the fields of the frames of one type that arrived."""
        return [decode_fields(kind, payload) for k, _, payload in self.frames if k == kind]

    def numbers(self, kind: FrameType) -> list[int]:
        """Return the session numbers of the frames of one type that arrived."""
        return [session for k, session, _ in self.frames if k == kind]


def accepting() -> Accepting:
    """Return the accepting half of a hello, of endpoint "bob"."""
    return Accepting(
        RING,
        subject="bob",
        is_broker=False,
        instance=b"b" * 16,
        nonce=os.urandom(32),
        clock=clock,
    )


def dialing(identity: Identity | None = None) -> Dialing:
    """Return the dialling half of a hello, of endpoint "alice"."""
    return Dialing(identity or make_identity("alice"), b"a" * 16, os.urandom(32))


def join_links(
    pump: Pump, network: MemoryNetwork | None = None, identity: Identity | None = None
) -> tuple[Link, Owner, Link, Owner]:
    """Return a dialling and an accepting link, started, each with its owner."""
    left, right = memory_pipe_pair(pump, network)
    owners = Owner(), Owner()
    dialer = Link(left, dialing(identity), owners[0])
    acceptor = Link(right, accepting(), owners[1])
    acceptor.start()
    dialer.start()
    return dialer, owners[0], acceptor, owners[1]


def stranger_at(pump: Pump, network: MemoryNetwork | None = None) -> tuple[RawPeer, Link, Owner]:
    """Return a peer without rules that has connected to an accepting link."""
    left, right = memory_pipe_pair(pump, network)
    owner = Owner()
    link = Link(right, accepting(), owner)
    link.start()
    return RawPeer(left), link, owner
