"""Identities, and endpoints that are joined, for the tests of links, sessions and brokers."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.tunnelkit.certificates import tls_settings
from tunnelkit.addresses import Address
from tunnelkit.auth import Identity, KeyRing, mint
from tunnelkit.broker import open_broker
from tunnelkit.carriers import SYSTEM_NETWORK, Network, SocketNetwork
from tunnelkit.endpoint import Endpoint, open_endpoint
from tunnelkit.session import Session
from tunnelkit.stream import Stream
from tunnelkit.testing import MemoryNetwork

NOW: Final = 1_800_000_000.0
"""The moment, in unix seconds, at which every test of this kind takes place."""

ISSUER: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RING: Final = KeyRing([ISSUER.public_key()])

CARRIERS: Final = ("memory", "tcp", "unix", "tls", "ws", "wss")


def clock() -> float:
    """The unix clock of a test: it stands still."""
    return NOW


def make_key(subject: str) -> Ed25519PrivateKey:
    """Return the holder key of *subject*, the same at each call."""
    return Ed25519PrivateKey.from_private_bytes(subject.encode().ljust(32, b".")[:32])


def make_identity(
    subject: str,
    *,
    peers: Iterable[str] = ("*",),
    targets: Iterable[str] = ("*",),
    issuer: Ed25519PrivateKey = ISSUER,
    lifetime_seconds: int = 3600,
    is_caller: bool = False,
    now: float = NOW,
) -> Identity:
    """Return an identity that may meet everybody and open everything, unless told otherwise."""
    key = make_key(subject)
    token = mint(
        issuer,
        subject=subject,
        holder=key.public_key().public_bytes_raw(),
        lifetime_seconds=lifetime_seconds,
        peers=peers,
        targets=targets,
        is_caller=is_caller,
        now=now,
    )
    return Identity(key, token)


@dataclass
class World:
    """Where endpoints and brokers of one test live: one carrier, and addresses to listen on.

    Args:
        carrier: "memory", "tcp", "unix", "tls", "ws" or "wss".
        network: the memory network, for that carrier.
    """

    carrier: str = "memory"
    network: MemoryNetwork = field(default_factory=MemoryNetwork)
    folder: str = ""

    def host(self, name: str) -> Network:
        """Return the network as *name* sees it; for sockets there is only one."""
        match self.carrier:
            case "memory":
                return self.network.host(name)
            case "tls" | "wss":
                return SocketNetwork(tls_settings())
            case _:
                return SYSTEM_NETWORK

    def address(self, name: str, port: int = 0) -> Address:
        """Return an address on which *name* can listen."""
        match self.carrier:
            case "memory":
                return Address("memory", name, port)
            case "tcp" | "tls":
                return Address(self.carrier, "127.0.0.1", port)
            case "ws" | "wss":
                return Address(self.carrier, "127.0.0.1", port, f"/{name}")
            case _:
                return Address("unix", path=f"{self.folder}/{name}.sock")

    @asynccontextmanager
    async def endpoint(
        self,
        name: str,
        *,
        dial: Iterable[Address] = (),
        listens: bool = False,
        **options: Any,
    ) -> AsyncGenerator[Endpoint]:
        """Open the endpoint *name*, on a host of that name."""
        identity = options.pop("identity", None) or make_identity(name)
        options.setdefault("clock", clock)
        listen = [self.address(name)] if listens else []
        async with open_endpoint(
            identity, RING, dial=dial, listen=listen, network=self.host(name), **options
        ) as endpoint:
            yield endpoint

    @asynccontextmanager
    async def broker(self, name: str = "broker", **options: Any) -> AsyncGenerator[Address]:
        """Run a broker on a host of that name; give the address to dial."""
        options.setdefault("clock", clock)
        listen = options.pop("listen", None) or self.address(name)
        async with open_broker(RING, listen=[listen], network=self.host(name), **options) as broker:
            yield broker.listeners[0].address


@asynccontextmanager
async def open_world(
    carrier: str = "memory", network: MemoryNetwork | None = None
) -> AsyncGenerator[World]:
    """Make a world; unix sockets live in a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        yield World(carrier, network or MemoryNetwork(), folder)


@dataclass
class Pair:
    """Two endpoints, "alice" and "bob", with a session that alice opened.

    Alice dialled, unless the pair was made the other way round or through a broker.
    """

    world: World
    alice: Endpoint
    bob: Endpoint
    session: Session

    @property
    def peer_session(self) -> Session:
        """Bob's side of the session."""
        return self.bob.sessions[self.session.session_id]


@asynccontextmanager
async def open_pair(
    world: World, *, way: str = "dialer", timeout: float = 10, **options: Any
) -> AsyncGenerator[Pair]:
    """Join two endpoints by a session.

    Args:
        way: "dialer": alice, who opens the session, also dialled; "listener": bob did;
            "broker": both dialled a broker.
        options: for both endpoints.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        if way == "broker":
            address = await enter(world.broker())
            bob = await enter(world.endpoint("bob", dial=[address], **options))
            alice = await enter(world.endpoint("alice", dial=[address], **options))
        elif way == "dialer":
            bob = await enter(world.endpoint("bob", listens=True, **options))
            dial = [bob.listeners[0].address]
            alice = await enter(world.endpoint("alice", dial=dial, **options))
        else:
            alice = await enter(world.endpoint("alice", listens=True, **options))
            dial = [alice.listeners[0].address]
            bob = await enter(world.endpoint("bob", dial=dial, **options))
        session = await alice.open_session("bob", timeout=timeout)
        yield Pair(world, alice, bob, session)


async def open_streams(
    session: Session, acceptor: Endpoint, target: str = "test"
) -> tuple[Stream, Stream]:
    """Open a stream over *session*; return both ends, neither of which anybody serves."""
    accepted: list[Stream] = []
    before = acceptor.on_stream

    def accept(peer_session: Session, core: Any) -> None:
        accepted.append(Stream(core, peer_session, acceptor.pump))
        core.accept()

    acceptor.on_stream = accept
    try:
        stream = await session.open_stream(target)
    finally:
        acceptor.on_stream = before
    return stream, accepted[0]


async def echo(stream: Stream) -> None:
    """Send back what arrives, then end."""
    async for chunk in stream:
        await stream.send_all(chunk)
    await stream.send_eof()


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Return everything up to the clean end."""
    data = bytearray()
    async for chunk in stream:
        data += chunk
    return bytes(data)


async def wait_until(condition: Callable[[], object], *, step: float = 0.01) -> None:
    """Wait until *condition* holds, looking again and again; the test's deadline bounds it."""
    while not condition():  # noqa: ASYNC110 # the state changes without an event
        await trio.sleep(step)
