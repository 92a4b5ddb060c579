"""Those who answer at an address that a peer named, and are not what alice takes them for."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from tests.tunnelkit.faults.lab import Lab, address, open_lab, serve_exchange
from tests.tunnelkit.pairs import RING
from tests.tunnelkit.strangers import RawPeer
from tunnelkit.carriers import ConnectFailed, Pipe
from tunnelkit.direct import encode_addresses
from tunnelkit.endpoint import Endpoint
from tunnelkit.handshake import Accepting
from tunnelkit.session import Session
from tunnelkit.wire.frames import FrameType, Value, decode_fields, encode_fields, encode_frame

__all__ = ["EVIL", "Impostor", "Relay", "Stage", "open_stage"]

EVIL = "10.6.6.6"
"""Where they answer: a host in the networks in which alice dials what peers name."""


@dataclass
class Impostor(RawPeer):
    """Accepts a link as whoever it likes to be, and may keep back its last word of the hello."""

    holds: bool = False
    held: bytes = b""

    def send(self, data: bytes) -> None:
        if self.holds and self.handshake is not None and self.handshake.peer is not None:
            self.held, self.holds = data, False
        else:
            super().send(data)


@dataclass
class Relay(RawPeer):
    """Passes each frame on to another peer; a challenge is made to say what a test wants."""

    other: RawPeer | None = None
    told: dict[str, Value] = field(default_factory=dict)

    def _frame(
        self, kind: int, flags: int, session: int, stream: int, sequence: int, payload: memoryview
    ) -> None:
        super()._frame(kind, flags, session, stream, sequence, payload)
        data = bytes(payload)
        if kind == FrameType.CHALLENGE:
            values = {**decode_fields(FrameType.CHALLENGE, payload), **self.told}
            data = encode_fields(FrameType.CHALLENGE, **values)
        assert self.other is not None  # set before anything can be read
        numbers = {"session": session, "stream": stream, "sequence": sequence}
        self.other.send(encode_frame(kind, data, flags=flags, **numbers))


@dataclass
class Stage:
    """One broker; bob, who serves; alice, who dials what peers name; and mallory."""

    lab: Lab
    alice: Endpoint
    bob: Endpoint
    mallory: Endpoint
    impostors: list[Impostor] = field(default_factory=list)

    @property
    def has_broker_alone(self) -> bool:
        """Whether alice's one link is that to the broker, and it is up."""
        return [link.peer and link.peer.is_broker for link in self.alice.links] == [True]

    async def impersonate(
        self, subject: str, instance: bytes, *, is_broker: bool = False, holds: bool = False
    ) -> None:
        """Let an impostor answer at `EVIL`."""

        def accept(pipe: Pipe) -> None:
            peer = Impostor(pipe, holds=holds)
            self.impostors.append(peer)
            peer.handshake = Accepting(
                RING,
                subject=subject,
                is_broker=is_broker,
                instance=instance,
                nonce=os.urandom(32),
                clock=self.lab.clock,
            )

        await self.lab.network.host(EVIL).listen(address(EVIL), self.alice.pump, accept)

    async def relay(self, **told: Value) -> list[Relay]:
        """Pass on what comes to `EVIL` to the broker, whose challenge is made to say *told*."""
        host, relays = self.lab.network.host(EVIL), list[Relay]()

        def accept(pipe: Pipe) -> None:
            def connected(result: Pipe | ConnectFailed) -> None:
                assert isinstance(result, Pipe)
                near, far = Relay(pipe), Relay(result, told=told)
                near.other, far.other = far, near
                relays.append(far)

            host.connect_nowait(address("broker"), self.alice.pump, connected)

        await host.listen(address(EVIL), self.alice.pump, accept)
        return relays

    async def lure(self) -> Session:
        """Let mallory open a session with alice, and name `EVIL` as its own address."""
        self.mallory.advertised = encode_addresses([address(EVIL)])
        session = await self.mallory.open_session("alice")
        await trio.sleep(1)
        return session


@asynccontextmanager
async def open_stage() -> AsyncGenerator[Stage]:
    """Set the stage; alice listens too, on the host 10.0.0.5."""
    async with open_lab(latency=0.01) as lab:
        await lab.broker()
        bob = await lab.endpoint("bob")
        mallory = await lab.endpoint("mallory")
        at_alice = address("10.0.0.5")
        alice = await lab.endpoint(
            "alice", host=at_alice.host, listen=[at_alice], direct=["10.0.0.0/8"]
        )
        lab.nursery.start_soon(serve_exchange, bob)
        await trio.sleep(1)
        yield Stage(lab, alice, bob, mallory)
