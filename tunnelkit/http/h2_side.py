"""One connection of HTTP/2: its machine, and the end that its bytes go to (no I/O)."""

from __future__ import annotations

from typing import Final

from tunnelkit.wire.stream import Buffer

from .h2_events import Event, Headers
from .h2_machine import Machine, MachineLimits
from .outlet import Outlet

__all__ = ["Headers", "Side"]

MAX_UNFLUSHED_BYTES: Final = 64 * 1024
"""What is collected before it is sent, bytes: a request's parts go in one system call."""

MAX_WAITING_BYTES: Final = 256 * 1024
"""What may wait for a peer that reads slowly before nothing more is read from it, bytes.  Stops:
questions (PING, SETTINGS) whose sender does not read the answers."""

MAX_STREAMS: Final = 128
"""Most streams of a peer at once.  Stops: requests faster than they are answered."""

STREAM_WINDOW_BYTES: Final = 256 * 1024
"""What of a stream may be under way, bytes: it waits here for whoever reads slowly."""

CONNECTION_WINDOW_BYTES: Final = 1024 * 1024
"""What of all streams may be under way, bytes."""

MAX_HEADER_BYTES: Final = 64 * 1024
"""Most bytes of a request's or an answer's fields, unpacked.  Stops: small blocks that unpack to
large ones (HPACK bombs)."""


_LIMITS: Final = MachineLimits(
    max_streams=MAX_STREAMS,
    stream_window_bytes=STREAM_WINDOW_BYTES,
    connection_window_bytes=CONNECTION_WINDOW_BYTES,
    max_header_bytes=MAX_HEADER_BYTES,
)


class Side:
    """One connection.

    Args:
        is_client: whether this side asks.
    """

    def __init__(self, *, is_client: bool) -> None:
        self.outlet = Outlet()
        self.is_over = False
        self._unflushed_bytes = 0
        self.machine = Machine(is_client=is_client, limits=_LIMITS)

    @property
    def is_stuck(self) -> bool:
        """Whether so much waits to be taken that nothing more may be caused."""
        return self.outlet.is_full and self.outlet.waiting_bytes > MAX_WAITING_BYTES

    def receive(self, data: Buffer, now: float) -> list[Event]:
        """Return what bytes of the peer say; what is to be answered waits to be flushed."""
        return self.machine.receive(bytes(data), now)

    def send_headers(self, stream_id: int, headers: Headers, *, ends: bool) -> None:
        """Send a head or trailers, unless the stream was reset."""
        self.machine.send_headers(stream_id, headers, ends=ends)

    def end_stream(self, stream_id: int) -> None:
        """End a stream, unless it was reset."""
        self.machine.end_stream(stream_id)

    def send_data(self, stream_id: int, data: bytes, *, ends: bool) -> None:
        """Send bytes of a stream, for which there is room, unless it was reset; see `flush`."""
        self.machine.send_data(stream_id, data, ends=ends)
        self._unflushed_bytes += len(data)

    def flush(self) -> None:
        """Send what the machine wants to be sent."""
        self._unflushed_bytes = 0
        data = self.machine.take_output()
        if data and not self.is_over:
            self.outlet.send([data])

    def room(self, stream_id: int) -> int:
        """Return how many bytes of a stream can be sent now; flushes what has come together."""
        if self._unflushed_bytes > MAX_UNFLUSHED_BYTES:
            self.flush()
        if self.is_over or self.outlet.is_full:
            return 0
        return self.machine.room(stream_id)

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let the peer send so much more: it was passed on, or nobody wants it."""
        if size and not self.is_over:
            self.machine.acknowledge(stream_id, size)

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream with bytes missing, if it has not ended."""
        if not self.is_over:
            self.machine.reset_stream(stream_id, code)
