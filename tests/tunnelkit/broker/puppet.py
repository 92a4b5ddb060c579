"""A peer that does what a test tells it: reads or not, attaches or not, sends any frame."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import trio

from tests.tunnelkit.pairs import World, make_identity
from tunnelkit.addresses import Address
from tunnelkit.auth import Identity
from tunnelkit.carriers import connect
from tunnelkit.errors import LinkError
from tunnelkit.handshake import Dialing
from tunnelkit.link import Link
from tunnelkit.pump import acquire_pump, release_pump
from tunnelkit.wire.frames import HEADER_BYTES, FrameType, Role, Value, decode_fields, encode_frame

__all__ = ["Frame", "Puppet", "join", "open_puppet", "settle"]

NEVER: Final = 1e6
"""Seconds between pings: a puppet is silent unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An end-to-end frame that arrived."""

    kind: int
    stream: int
    sequence: int
    payload: bytes

    @property
    def size(self) -> int:
        """Its bytes on the wire."""
        return HEADER_BYTES + len(self.payload)


class _Leg:
    """Records the frames of one session number."""

    def __init__(self, puppet: Puppet, number: int) -> None:
        self.puppet = puppet
        self.number = number

    def receive_frame(
        self, kind: int, flags: int, stream: int, sequence: int, payload: memoryview
    ) -> None:
        frame = Frame(kind, stream, sequence, bytes(payload))
        self.puppet.frames[self.number].append(frame)
        self.puppet.order.append(self.number)

    def link_writable(self) -> None:
        pass

    def link_lost(self) -> None:
        pass

    def frame_failed(self, error: Exception) -> None:
        raise AssertionError("a puppet checks no frame") from error


class Puppet:
    """One link to a broker, and a record of what came over it."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.link: Link = None  # type: ignore[assignment] # set before anything else happens
        self.hops: list[tuple[FrameType, int, Mapping[str, Value]]] = []
        self.frames: defaultdict[int, list[Frame]] = defaultdict(list)
        self.order: list[int] = []
        self.sequences: Counter[int] = Counter()
        self.closed: LinkError | None = None

    def got(self, kind: FrameType) -> list[Mapping[str, Value]]:
        """Return the values of the hop frames of one kind that arrived."""
        return [values for found, _, values in self.hops if found is kind]

    def detached(self, number: int) -> list[Value]:
        """Return the codes with which an attachment was ended."""
        return [v["code"] for kind, n, v in self.hops if (kind, n) == (FrameType.DETACHED, number)]

    # --- what it does -----------------------------------------------------------------------

    def attach(
        self,
        role: Role,
        peer: str,
        *,
        session: bytes = b"s" * 16,
        generation: int = 1,
    ) -> int:
        """Attach; return the number."""
        number = self.link.take_number(None)  # type: ignore[arg-type] # replaced at once
        self.link.users[number] = _Leg(self, number)
        with self.link.pump.batch():
            self.link.write_hop(
                FrameType.ATTACH,
                number,
                session_id=session,
                generation=generation,
                received=0,
                role=int(role),
                peer=peer,
                proof_kind=1,
                proof=b"proof",
            )
        return number

    def send(self, number: int, *payloads: bytes, stream: int = 1) -> None:
        """Send data frames in one write."""
        frames = bytearray()
        for payload in payloads:
            self.sequences[number] += 1
            frames += encode_frame(
                FrameType.DATA,
                payload,
                session=number,
                stream=stream,
                sequence=self.sequences[number],
            )
        with self.link.pump.batch():
            self.link.write(bytes(frames))

    def sleep(self) -> None:
        """Stop reading, as a stopped process does."""
        self.link.pipe.want(readable=False, writable=False)

    def wake(self) -> None:
        """Read again."""
        self.link.pipe.want(readable=True, writable=not self.link.is_clear)

    # --- LinkOwner --------------------------------------------------------------------------

    def link_up(self, link: Link) -> None:
        pass

    def hop_frame(self, link: Link, kind: FrameType, session: int, payload: memoryview) -> None:
        self.hops.append((kind, session, decode_fields(kind, payload)))

    def stray_frame(
        self, link: Link, kind: int, flags: int, session: int, payload: memoryview
    ) -> None:
        raise AssertionError(f"a frame for number {session}, which is not attached")

    def health_changed(self, link: Link) -> None:
        pass

    def link_closed(self, link: Link, error: LinkError) -> None:
        self.closed = error


async def settle() -> None:
    """Let everything happen that takes no time; in virtual time, so it takes no real time."""
    await trio.sleep(0.001)


@asynccontextmanager
async def open_puppet(
    world: World,
    subject: str,
    address: Address,
    *,
    identity: Identity | None = None,
    instance: bytes | None = None,
    **options: Any,
) -> AsyncGenerator[Puppet]:
    """Link *subject* to the broker at *address*, from a host of its own."""
    pump = acquire_pump()
    puppet = Puppet(subject)
    try:
        pipe = await connect(world.host(subject), address, pump)
        dialing = Dialing(
            identity or make_identity(subject), instance or os.urandom(16), os.urandom(32)
        )
        puppet.link = Link(pipe, dialing, puppet, ping_seconds=NEVER, **options)
        puppet.link.start()
        await settle()
        yield puppet
    finally:
        puppet.link.close(LinkError("the test is over"))
        await release_pump(pump)


async def join(a: Puppet, b: Puppet, session: bytes = b"s" * 16) -> tuple[int, int]:
    """Attach both to a session; return their numbers."""
    numbers = (
        a.attach(Role.INITIATOR, b.subject, session=session),
        b.attach(Role.RESPONDER, a.subject, session=session),
    )
    await settle()
    assert [kind for kind, number, _ in a.hops if number == numbers[0]] == [FrameType.ATTACHED]
    return numbers
