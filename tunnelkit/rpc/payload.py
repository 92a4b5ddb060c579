"""Payloads: streamed arguments and results that are bytes, of any length.

A payload is declared as an `AsyncIterable[bytes]` or an `AsyncIterator[bytes]`.  Where its pieces
begin and end means nothing.  It goes one of three ways, the best that both sides know:

* On a line of JSON each piece is an item whose value is base64, and items are numbered by the
  bytes before them.
* On a WebSocket each piece is a binary message: a header and the bytes (`encode_piece`).  Whoever
  takes such messages says so, with ``binary`` beside the credit.
* In a session of a tunnel the payload of a call has a stream of its own (`sessions`), with the
  flow control of the session.

Credit counts bytes in the first two.  A peer that knows none of it sends and gets a payload as
one string of base64, within the bounds of a message.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio
from msgspec import Raw
from outcome import Outcome, Value

from tunnelkit.errors import TunnelError

from .backlog import Backlog
from .codes import RpcCode, RpcError
from .flow import Credit, Feed, ending

if TYPE_CHECKING:
    from tunnelkit.stream import Stream

__all__ = [
    "BYTES_AHEAD",
    "Binary",
    "ByteFeed",
    "PayloadBroken",
    "Piece",
    "decode_piece",
    "encode_piece",
    "feed_of",
    "is_binary_id",
    "is_payload",
    "send_bytes",
]

BYTES_AHEAD: Final = 1024 * 1024
"""Bytes that may be under way.  Stops: a slow reader filling the memory."""

PIECE_BYTES: Final = 64 * 1024
"""Most bytes in one message: what a small call beside it waits for."""

MAX_CALL_ID: Final = 2**53 - 1
"""Largest id of a call whose payload goes as binary messages: what every JSON number holds."""

_HEADER: Final = Struct("!BQQ")
_RESULT, _ARGUMENT = 0, 1

Buffer = bytes | bytearray | memoryview


def is_payload(kind: Any) -> bool:
    """Return whether items of that type are pieces of a payload."""
    return kind is bytes


def is_binary_id(call_id: object) -> bool:
    """Return whether the payload of a call with that id can go as binary messages."""
    return type(call_id) is int and 0 <= call_id <= MAX_CALL_ID


class Binary(bytes):
    """A message that goes as binary, where a channel tells such from text."""


class Piece(NamedTuple):
    """What a binary message holds."""

    is_argument: bool
    """Of an argument of the call; otherwise of its result."""
    call_id: int
    offset: int
    """How many bytes of the payload come before it."""
    data: bytes


def encode_piece(*, is_argument: bool, call_id: int, offset: int, data: Buffer) -> Binary:
    """Return the binary message of a piece: kind (u8), call (u64), offset (u64), and the bytes."""
    kind = _ARGUMENT if is_argument else _RESULT
    return Binary(_HEADER.pack(kind, call_id, offset) + data)


def decode_piece(message: bytes) -> Piece | None:
    """Return the piece in a binary message, or None: it is something else."""
    if len(message) <= _HEADER.size or message[0] not in (_RESULT, _ARGUMENT):
        return None
    kind, call_id, offset = _HEADER.unpack_from(message)
    return Piece(kind == _ARGUMENT, call_id, offset, message[_HEADER.size :])


class PayloadBroken(trio.BrokenResourceError, TunnelError):
    """The stream of a payload is broken; the end of its call says why."""


async def send_bytes(
    pieces: AsyncIterable[Buffer],
    credit: Credit,
    wait_room: Callable[[], Awaitable[None]],
    put: Callable[[int, memoryview], None],
) -> int:
    """Send a payload as far as the reader allows, and return how many bytes it has.

    Args:
        wait_room: waits until little enough waits to be sent.
        put: sends some bytes, with the number of those before them.

    Raises:
        PayloadBroken: the stream of the payload is broken; the call's end says why.
    """
    sent = 0
    async with ending(pieces) as iterator:
        async for piece in iterator:
            rest = memoryview(piece)
            while rest:
                await credit.wait(sent)
                if credit.stream is not None:
                    await _send_over(credit.stream, rest)
                    size = len(rest)
                else:
                    await wait_room()
                    size = min(len(rest), PIECE_BYTES, credit.allowed - sent)
                    put(sent, rest[:size])
                sent += size
                rest = rest[size:]
    await credit.wait(0)  # before that, nobody knows which way it goes
    if credit.stream is not None:
        await _send_over(credit.stream, None)
    return sent


async def _send_over(stream: Stream, data: memoryview | None) -> None:
    """Send bytes over the stream of a payload; None: its end."""
    try:
        if data is None:
            await stream.send_eof()
        else:
            await stream.send_all(data)
    except trio.BrokenResourceError as error:
        raise PayloadBroken(str(error)) from error


class ByteFeed(Feed[bytes]):
    """A payload that arrives; what is taken is all that is there, in pieces of any size.

    What the writer has leave to send counts as waiting, because it may be there at any time.
    """

    def __init__(self, what: str, allow: Callable[[int], None], backlog: Backlog) -> None:
        super().__init__(what, bytes, allow, backlog)
        self._buffer = bytearray()
        self._stream: Stream | None = None
        self._total: int | None = None
        self._held = 0

    def open(self) -> int:
        self.credit = self._window()
        self._hold()
        return self.credit

    def _window(self) -> int:
        return BYTES_AHEAD if self._backlog.has_room else PIECE_BYTES

    def _hold(self) -> None:
        """Count what waits, and what may come."""
        is_coming = self.end is None and self._stream is None
        held = len(self._buffer) + (self.credit - self.arrived_count if is_coming else 0)
        self._backlog.change(held - self._held)
        self._held = held

    def arrived(self, number: int, value: Raw) -> bool:
        try:
            data: bytes = self._decoded(number, value)
        except RpcError as error:
            self.fail(error)
            return False
        self.arrived_bytes(number, data)
        return True

    def arrived_bytes(self, offset: int, data: bytes) -> None:
        """Some bytes came; as `arrived`."""
        self._count(offset, len(data))
        self.awaits_stream = False
        if self.end is None:
            self._buffer += data
            self._wake()

    def arrived_whole(self, values: Sequence[bytes]) -> None:
        if self.end is None:
            self._buffer += b"".join(values)
            super().arrived_whole(())

    def go_over(self, stream: Stream) -> None:
        """The bytes come over a stream of their own."""
        self._stream = stream
        self._hold()
        self._wake()

    def finish(self, end: Outcome[Any]) -> None:
        super().finish(end)
        self._hold()

    def finish_after(self, count: int) -> None:
        if self._stream is None and not (self.awaits_stream and count):
            super().finish_after(count)
        elif self.end is None:
            self._total = count
            self.finish(Value(None))

    def fail(self, error: Exception) -> None:
        super().fail(error)
        if self._stream is not None:
            self._stream.reset()

    def clear(self) -> None:
        self._buffer.clear()
        self._hold()

    def _took(self, size: int) -> None:
        self._hold()
        super()._took(size)
        self._hold()

    async def take(self) -> bytes:
        """Return the next bytes; otherwise as `Feed.take`."""
        while not self._buffer and self._stream is None:
            if self.end is not None and self._total is None:
                self._end_now()
            await self._news.wait()
        if self._stream is not None:
            return await self._receive(self._stream)
        data = bytes(self._buffer)
        self._buffer.clear()
        self._took(len(data))
        return data

    async def _receive(self, stream: Stream) -> bytes:
        """Return the next bytes of the stream; how the call ended tells whether they are all."""
        try:
            data = await stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if data:
            self.arrived_count += len(data)
            return data
        while self.end is None:
            await self._news.wait()
        if self._total not in (None, self.arrived_count):
            text = f"{self._what} was cut after {self.arrived_count} of {self._total} bytes"
            raise RpcError(RpcCode.INTERNAL_ERROR, text)
        self._end_now()


def feed_of(what: str, kind: Any, allow: Callable[[int], None], backlog: Backlog) -> Feed[Any]:
    """Return what takes items of the type *kind*; arguments as for `Feed`."""
    if is_payload(kind):
        return ByteFeed(what, allow, backlog)
    return Feed(what, kind, allow, backlog)
