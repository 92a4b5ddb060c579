"""An exchange of HTTP heads that comes before a pipe is of use, driven by the pump.

A WebSocket and a tunnel through an HTTP proxy both begin with one: a head goes out, a head comes
in, and whatever follows belongs to somebody else.  `Handshake` is what they share: it collects the
other side's head within one limit of size and one deadline for everything, and no task waits in it.
`ClientHandshake` is the side that dialled, and `LayeredConnect` the connect that leads to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from tunnelkit.addresses import Address
from tunnelkit.pump import Pump

from .pipe import Connected, ConnectFailed, Network, Pending, Pipe, PipeBroken

__all__ = [
    "MAX_HEAD_BYTES",
    "TIMEOUT_SECONDS",
    "ClientHandshake",
    "Handshake",
    "HeadReader",
    "HeadTooLarge",
    "LayeredConnect",
    "printable",
]

MAX_HEAD_BYTES: Final = 16 * 1024
"""Largest HTTP request or response head, bytes.  Stops: endless heads."""

TIMEOUT_SECONDS: Final = 5.0
"""Time for the whole exchange, seconds.  Stops: slow heads."""

SHOWN_CHARACTERS: Final = 120
"""How much of a text of the other side an error shows.  Stops: floods of the log."""

_HEAD_END: Final = b"\r\n\r\n"


def printable(text: bytes) -> str:
    """Return a text of the other side as an error can show it: short, and printable ASCII only."""
    shown = text[:SHOWN_CHARACTERS].decode("ascii", "replace")
    return "".join(letter if " " <= letter <= "~" else "?" for letter in shown).strip()


class HeadTooLarge(Exception):
    """There was no end of the head where it should have been."""


class HeadReader:
    """Collects a head from bytes that come in pieces of any size."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._searched = 0

    @property
    def start(self) -> bytes:
        """The first bytes, at most eight."""
        return bytes(self._received[:8])

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        self._received += data

    def take_head(self) -> tuple[bytes, bytes] | None:
        """Return the head, with its empty line, and what follows; None: it is not all here.

        Raises:
            HeadTooLarge: so much has come that it cannot be a head.
        """
        end = self._received.find(_HEAD_END, self._searched)
        self._searched = max(0, len(self._received) - len(_HEAD_END) + 1)
        if end >= 0:
            end += len(_HEAD_END)
            return bytes(self._received[:end]), bytes(self._received[end:])
        if len(self._received) > MAX_HEAD_BYTES:
            raise HeadTooLarge
        return None

    def clear(self) -> None:
        """Forget what has come."""
        self._received.clear()
        self._searched = 0


class Handshake(ABC):
    """One side's part of the exchange, on one pipe.

    Args:
        inner: the pipe, which nobody else drives until the handshake is over.
        seconds: time for all of it.
    """

    def __init__(self, inner: Pipe, seconds: float = TIMEOUT_SECONDS) -> None:
        self._inner = inner
        self.received = HeadReader()
        self._seconds = seconds
        self._out = b""
        self._after: Callable[[], None] = lambda: None
        self._is_over = False
        self._timer = inner.pump.call_later(seconds, self.too_late)

    @abstractmethod
    def head_arrived(self, head: bytes, early: bytes) -> None:
        """All of the other side's HTTP has arrived, and perhaps more."""

    @abstractmethod
    def check_start(self, start: bytes) -> bool:
        """Look at the first bytes; return whether they can be HTTP, having failed otherwise."""

    @abstractmethod
    def fail(self, why: str) -> None:
        """End the handshake without success."""

    def too_late(self) -> None:
        """The time is over."""
        self.fail(f"no complete handshake within {self._seconds:g} s")

    def too_large(self) -> None:
        """The other side's head has no end."""
        self.fail(f"an HTTP head of more than {MAX_HEAD_BYTES} bytes")

    def closed_early(self) -> None:
        """The other side ended the connection."""
        self.fail("the other side closed the connection during the handshake")

    def begin(self) -> None:
        """Let the pump drive the handshake."""
        self._inner.start(self._ready)
        self._inner.want(True, False)

    def write(self, data: bytes, after: Callable[[], None]) -> None:
        """Send *data*, then call *after*."""
        self._out, self._after = data, after
        self._flush()

    def _flush(self) -> None:
        self._out = self._out[self._inner.try_send(self._out) :]
        self._inner.want(True, bool(self._out))
        if not self._out:
            after, self._after = self._after, lambda: None
            after()

    def _ready(self, readable: bool, writable: bool) -> None:
        try:
            if writable and self._out:
                self._flush()
            if readable and not self._is_over:
                self._receive()
        except PipeBroken as error:
            self.fail(str(error))

    def _receive(self) -> None:
        data = self._inner.try_receive(MAX_HEAD_BYTES)
        if data is None:
            return
        if not data:
            self.closed_early()
            return
        self.received.feed(data)
        if not self.check_start(self.received.start):
            return
        try:
            found = self.received.take_head()
        except HeadTooLarge:
            self.too_large()
        else:
            if found is not None:
                self.head_arrived(*found)

    def finish(self) -> None:
        """Nothing more is read or written here."""
        self._is_over = True
        self._timer.cancel()
        self._inner.want(False, False)  # until the next owner starts the pipe

    def abandon(self) -> None:
        """Give it up, and close the pipe."""
        self.finish()
        self._inner.close()


class ClientHandshake(Handshake):
    """The side that dialled: it asks, and tells *done* what came of it."""

    def __init__(
        self, inner: Pipe, address: Address, done: Connected, seconds: float = TIMEOUT_SECONDS
    ) -> None:
        super().__init__(inner, seconds)
        self._address = address
        self._done = done

    @abstractmethod
    def request(self) -> bytes:
        """Return what is asked.

        Raises:
            UnicodeError: the host is no host name.
        """

    def ask(self) -> None:
        """Send the request."""
        self.begin()
        try:
            self.write(self.request(), lambda: None)
        except PipeBroken as error:
            self.fail(str(error))
        except UnicodeError:
            self.fail("the host is no host name")

    def succeed(self, make: Callable[[], Pipe]) -> None:
        """Hand over what *make* makes of the pipe."""
        self.finish()
        self._done(make())

    def fail(self, why: str) -> None:
        if not self._is_over:
            self.abandon()
            self._done(ConnectFailed(f"cannot connect to {self._address}: {why}"))


class LayeredConnect:
    """A connect: first of the pipe below, then the handshake on it.

    Args:
        address: what is dialled, for errors.
        begin: makes the handshake.
        done: gets the outcome.
        prefix: stands before the cause if there is no pipe below.
    """

    def __init__(
        self,
        address: Address,
        begin: Callable[[Pipe], ClientHandshake],
        done: Connected,
        *,
        prefix: str = "",
    ) -> None:
        self._address = address
        self._begin = begin
        self._done = done
        self._prefix = prefix
        self._below = address
        self._handshake: ClientHandshake | None = None
        self._pending: Pending | None = None

    def connect(self, network: Network, below: Address, pump: Pump) -> None:
        """Connect to *below*, then begin the handshake."""
        self._below = below
        self._pending = network.connect_nowait(below, pump, self._connected)

    def _connected(self, result: Pipe | ConnectFailed) -> None:
        self._pending = None
        if isinstance(result, ConnectFailed):
            why = str(result).removeprefix(f"cannot connect to {self._below}: ")
            text = f"cannot connect to {self._address}: {self._prefix}{why}"
            self._done(ConnectFailed(text, refused=result.refused))
            return
        try:
            self._handshake = self._begin(result)
        except ConnectFailed as failed:
            self._done(failed)
        else:
            self._handshake.ask()

    def cancel(self) -> None:
        """Give it up; `done` is not called."""
        if self._pending is not None:
            self._pending.cancel()
        elif self._handshake is not None:
            self._handshake.abandon()
