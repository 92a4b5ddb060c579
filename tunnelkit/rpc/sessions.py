"""Messages on a stream of a tunnel's session, and payloads on streams beside it.

The side that opened the stream of the messages opens those of the payloads as well: it is the one
that knows that the other side takes streams.  Such a stream has the same target, and names in its
metadata (`RPC_PAYLOAD`) the stream of the messages and the call: ``<stream>:<who calls>:<id>``.
Both directions of a call's payload, argument and result, share one stream.

Who does not open has to expect a stream before it is opened.  So whoever serves says
``rpc.stream`` to a caller that opens, and a caller that does not open says ``stream`` in the call.
A stream that nobody expects is reset.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from tunnelkit.errors import ErrorCode, SessionError
from tunnelkit.session import Session
from tunnelkit.stream import Stream
from tunnelkit.wire.frames import Metadata

from .channels import MAX_MESSAGE_BYTES, LineChannel

__all__ = ["SessionChannel", "open_session_channel", "session_channels"]

TARGET: Final = "rpc"
"""What streams of messages are opened to, unless told otherwise."""


class SessionChannel(LineChannel):
    """Lines on a stream of a session; made by `open_session_channel` and `session_channels`."""

    def __init__(self, stream: Stream, streams: PayloadStreams, max_message_bytes: int) -> None:
        super().__init__(stream, max_message_bytes=max_message_bytes)
        self.streams = streams
        self.is_greeted = True  # who knows sessions knows the rest


class PayloadStreams:
    """The streams of the payloads of calls on one channel.

    Args:
        line: the stream of the messages.
        opens: whether this side opens streams; the other one waits for them.
    """

    def __init__(self, line: Stream, *, opens: bool) -> None:
        self.opens = opens
        self._line = line
        self._expected: dict[bytes, Callable[[Stream], None]] = {}
        self._done: dict[Stream, trio.Event] = {}

    def want(self, call_id: int, on_stream: Callable[[Stream], None], *, is_ours: bool) -> None:
        """Get the stream of a call: open it now, or take it when it comes.

        Args:
            is_ours: whether the call was made by this side.
        """
        name = self._name(call_id, is_ours)
        if not self.opens:
            self._expected[name] = on_stream
            return
        try:
            session, target = self._line.session, self._line.target
            stream = session.begin_stream(target, metadata={int(Metadata.RPC_PAYLOAD): name})
        except SessionError:
            return  # the stream of the messages has ended with it, and says so
        on_stream(stream)

    def forget(self, call_id: int, *, is_ours: bool) -> None:
        """The call is over, and its stream is not wanted any more, if it has not come yet."""
        self._expected.pop(self._name(call_id, is_ours), None)

    def release(self, stream: Stream) -> None:
        """Nobody uses *stream* any more."""
        done = self._done.get(stream)
        if done is not None:
            done.set()

    def _name(self, call_id: int, is_ours: bool) -> bytes:
        who = "opener" if is_ours == self.opens else "acceptor"
        return f"{self._line.stream_id}:{who}:{call_id}".encode()

    async def arrived(self, name: bytes, stream: Stream) -> None:
        """Hand a stream over to the call that waits for it, and wait until that is over."""
        expected = self._expected.pop(name, None)
        if expected is None:
            stream.reset(ErrorCode.UNKNOWN_TARGET, "no call waits for this payload")
            return
        done = self._done[stream] = trio.Event()
        try:
            expected(stream)
            await done.wait()
        finally:
            del self._done[stream]


async def open_session_channel(
    session: Session, target: str = TARGET, *, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> SessionChannel:
    """Open a channel to *target* at the other end of a session.

    Raises:
        OpenRefused, SessionError: as `Session.open_stream`.
    Cancellation: atomic.
    """
    stream = await session.open_stream(target)
    return SessionChannel(stream, PayloadStreams(stream, opens=True), max_message_bytes)


def session_channels(
    serve: Callable[[SessionChannel], Awaitable[object]],
    *,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> Callable[[Stream], Awaitable[None]]:
    """Return a handler of streams, for `Endpoint.serve`, that calls *serve* for each channel."""
    channels: dict[tuple[Session, bytes], PayloadStreams] = {}

    async def handle(stream: Stream) -> None:
        name = stream.metadata.get(Metadata.RPC_PAYLOAD)
        if name is not None:
            line = channels.get((stream.session, name.partition(b":")[0]))
            if line is None:
                stream.reset(ErrorCode.UNKNOWN_TARGET, "this payload belongs to no connection")
            else:
                await line.arrived(name, stream)
            return
        streams = PayloadStreams(stream, opens=False)
        key = stream.session, str(stream.stream_id).encode()
        channels[key] = streams
        try:
            await serve(SessionChannel(stream, streams, max_message_bytes))
        finally:
            del channels[key]

    return handle
