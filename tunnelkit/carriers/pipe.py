"""The one interface that every carrier implements: a non-blocking byte pipe.

Links, splices and the broker are written once, on this.  No method waits and none starts a task:
what cannot be done now says so, and the handler given to `start` is called when it can.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, TypeAlias

import trio

from tunnelkit.addresses import Address
from tunnelkit.errors import LinkError
from tunnelkit.pump import Pump
from tunnelkit.wire.stream import Buffer

__all__ = ["ConnectFailed", "Listener", "Network", "Pending", "Pipe", "PipeBroken"]


class PipeBroken(Exception):
    """The carrier broke, or one of its calls failed; the first such error stays."""


class ConnectFailed(LinkError):
    """No carrier could be made; the text names the address and the cause."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


class Pipe(ABC):
    """A reliable, ordered, bidirectional byte pipe that never waits.

    A pipe is inert until `start`; from then on the handler is called with (readable, writable)
    for what `want` last asked for.
    """

    pump: Pump
    description: str

    @abstractmethod
    def start(self, handler: Callable[[bool, bool], None]) -> None:
        """Choose who is called when the pipe is ready; a later call replaces the handler."""

    @abstractmethod
    def want(self, readable: bool, writable: bool) -> None:
        """Say what to be called for."""

    @abstractmethod
    def try_send(self, data: Buffer) -> int:
        """Send some of *data*; return how many bytes (0: not now).

        Raises:
            PipeBroken: the carrier is gone.
        """

    @abstractmethod
    def try_send_many(self, buffers: Sequence[Buffer]) -> int:
        """Send some of the buffers as if they were one; return how many bytes (0: not now).

        Raises:
            PipeBroken: the carrier is gone.
        """

    @abstractmethod
    def try_receive_into(self, buffer: memoryview) -> int:
        """Receive into *buffer*; return how many bytes (0: end of file, -1: not now).

        Raises:
            PipeBroken: the carrier is gone; there was no clean end.
        """

    @abstractmethod
    def try_receive(self, max_bytes: int) -> Buffer | None:
        """Receive at most *max_bytes*; return them, b"" at the end of file, or None: not now.

        A view that is read-only, and `bytes`, may be kept; any other view is valid until the
        next call of any pipe of the same pump.

        Raises:
            PipeBroken: the carrier is gone; there was no clean end.
        """

    def take_rest(self, max_bytes: int) -> bytes:
        """Return what had arrived before the carrier broke; b"": nothing, or no more.

        For when a send has failed: the peer may have said why before it left.
        """
        return b""

    def limit_unsent(self, count: int) -> None:  # noqa: B027 # doing nothing is right for some
        """Hold at most about *count* bytes that have not left; 0: whatever the system holds.

        A hint, for links.  What a carrier cannot limit it leaves as it is.
        """

    def unsent_bytes(self) -> int | None:
        """Return how much was taken and has not left; None where that cannot be known."""
        return None

    @abstractmethod
    def check(self) -> None:
        """Look whether the carrier broke, without sending or receiving.

        Raises:
            PipeBroken: it did.
        """

    @abstractmethod
    def send_eof(self) -> None:
        """End the sending direction cleanly."""

    @abstractmethod
    def close(self) -> None:
        """Close both directions now; what the system has taken is still delivered."""

    @abstractmethod
    def reset(self) -> None:
        """Close so that the peer sees a reset, not an end of file."""


class Listener(Protocol):
    """Something that accepts pipes until it is closed."""

    @property
    def address(self) -> Address:
        """Where it listens, with the real port."""

    def close(self) -> None:
        """Stop listening."""


class Pending(Protocol):
    """A connect that is under way."""

    def cancel(self) -> None:
        """Give it up; `done` is not called."""


Connected: TypeAlias = Callable[["Pipe | ConnectFailed"], None]


class Network(ABC):
    """Where pipes come from: the real network, or one host of a memory network."""

    plain_scheme: ClassVar[str] = "tcp"
    """The scheme of an address that is just a host and a port."""

    @property
    def for_links(self) -> Network:
        """The network by which links are dialled: through proxies, where there are such."""
        return self

    @property
    def for_named(self) -> Network:
        """The network by which addresses are dialled that a peer names: straight, and without the
        headers and tokens that are meant for others."""
        return self

    @abstractmethod
    async def resolve(self, address: Address) -> Address:
        """Return the address with its name looked up.

        Raises:
            ConnectFailed: the name is not known.
        Cancellation: atomic.
        """

    async def resolve_all(
        self, address: Address, limiter: trio.CapacityLimiter | None = None
    ) -> list[Address]:
        """Return every address that its name leads to, in the order of the name service.

        Args:
            limiter: how many look-ups there may be at once; one that was cancelled counts until
                the system has given it up.  None: as many as Trio has threads.

        Raises:
            ConnectFailed: the name is not known.
        Cancellation: atomic.
        """
        return [await self.resolve(address)]

    @abstractmethod
    def connect_nowait(self, address: Address, pump: Pump, done: Connected) -> Pending:
        """Begin to connect to a resolved address; *done* is called later with the outcome."""

    @abstractmethod
    async def listen(
        self, address: Address, pump: Pump, accept: Callable[[Pipe], None]
    ) -> Listener:
        """Listen; *accept* is called with each new pipe.

        Raises:
            ConfigurationError: the address cannot be listened on; the text says why.
        Cancellation: atomic.
        """
