"""What carries messages: lines on a Trio stream.

A message channel is anything with `send`, `receive` and `aclose`.  One task sends and one receives
at a time; the two never wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import trio

from .codes import PeerGone, RpcCode, RpcError

if TYPE_CHECKING:
    from .sessions import PayloadStreams

__all__ = ["MAX_MESSAGE_BYTES", "Channel", "LineChannel", "fitting"]

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Largest message, bytes.  Stops: one message that fills the memory."""

_READ_BYTES: Final = 64 * 1024


def fitting(message: bytes, what: str) -> bytes:
    """Return a message that a peer takes: a larger one would end its connection.

    Args:
        what: it carries, for the error.

    Raises:
        RpcError: TOO_LARGE.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        text = f"{what} has {len(message)} bytes as a message, of at most {MAX_MESSAGE_BYTES}"
        raise RpcError(RpcCode.TOO_LARGE, f"{text}: stream it, or make it smaller")
    return message


class Channel(Protocol):
    """Carries whole messages in both directions, in order."""

    carries_binary: bool
    """Whether a message may be a `Binary`, and is told from text at the other end."""

    is_greeted: bool
    """Whether it has shown that the other end knows what goes beyond JSON-RPC (`greeting`)."""

    streams: PayloadStreams | None
    """Where payloads get streams of their own, if they do."""

    on_output: Callable[[], None]
    """Called by `receive` where the channel itself has something to send, which the next `send`
    takes along; it must not wait."""

    async def send(self, messages: Sequence[bytes]) -> None:
        """Send some messages.

        Raises:
            PeerGone: the connection is gone.
        Cancellation: breaks: nothing can be sent after it.
        """

    async def receive(self) -> bytes | None:
        """Return the next message; None: the peer has ended its side.

        Raises:
            PeerGone: the connection is gone.
            RpcError: TOO_LARGE: nothing can be received after it.
        Cancellation: atomic.
        """

    async def aclose(self) -> None:
        """Close the connection."""


class LineChannel:
    """Messages as lines of UTF-8, one each, on a Trio stream that is owned by it.

    Args:
        max_message_bytes: how long a line of the peer may be.
    """

    def __init__(
        self, stream: trio.abc.Stream, *, max_message_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        self.carries_binary = False
        self.is_greeted = False
        self.streams: PayloadStreams | None = None
        self._stream = stream
        self._most = max_message_bytes
        self.on_output: Callable[[], None] = lambda: None
        self._received = bytearray()
        self._searched = 0

    async def send(self, messages: Sequence[bytes]) -> None:
        if not messages:
            return
        # msgspec writes no line ends inside of a message.
        try:
            await self._stream.send_all(b"\n".join(messages) + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise PeerGone("the connection is gone") from error

    async def receive(self) -> bytes | None:
        received = self._received
        while True:
            end = received.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(received[:end])
                del received[: end + 1]
                self._searched = 0
                if line.strip():
                    return line
                continue
            self._searched = len(received)
            if len(received) > self._most:
                text = f"a message has at most {self._most} bytes"
                raise RpcError(RpcCode.TOO_LARGE, text)
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise PeerGone("the connection is gone") from error
            if not data:
                return None
            received += data

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)
