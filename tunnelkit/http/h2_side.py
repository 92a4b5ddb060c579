"""One connection of HTTP/2: the machine of `h2`, and the end that its bytes go to (no I/O)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final, TypeAlias

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from h2.exceptions import NoSuchStreamError, ProtocolError
from h2.settings import SettingCodes

from tunnelkit.wire.stream import Buffer

from .h2_gate import FrameGate, GoAway
from .outlet import Outlet

__all__ = ["Headers", "Side"]

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Fields in their order; `h2` marks those that are never to be kept in tables."""

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


class Side:
    """One connection.

    Args:
        is_client: whether this side asks.
    """

    def __init__(self, *, is_client: bool) -> None:
        self.outlet = Outlet()
        self.is_over = False
        self._unflushed_bytes = 0
        self.machine = H2Connection(
            H2Configuration(
                client_side=is_client,
                header_encoding=None,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,  # `h2_fields` does
                validate_outbound_headers=False,
            )
        )
        self._gate = FrameGate(has_preface=not is_client)
        wanted: dict[SettingCodes | int, int] = {
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
        }
        if is_client:
            wanted[SettingCodes.ENABLE_PUSH] = 0
        self.machine.initiate_connection()
        self.machine.update_settings(wanted)
        self.machine.increment_flow_control_window(CONNECTION_WINDOW_BYTES - 65_535)

    @property
    def is_stuck(self) -> bool:
        """Whether so much waits to be taken that nothing more may be caused."""
        return self.outlet.is_full and self.outlet.waiting_bytes > MAX_WAITING_BYTES

    def receive(self, data: Buffer, now: float) -> tuple[Iterable[Event], list[GoAway]]:
        """Return what bytes of the peer say.

        Raises:
            ProtocolError: they are wrong; what is to be answered waits to be flushed.
            Flood: there is too much of something.
        """
        passed, goaways = self._gate.take(bytes(data), now)
        return self.machine.receive_data(passed), goaways

    def send_headers(self, stream_id: int, headers: Headers, *, ends: bool) -> None:
        """Send a head or trailers, unless the stream was reset."""
        with suppress(NoSuchStreamError):
            self.machine.send_headers(stream_id, headers, end_stream=ends)

    def end_stream(self, stream_id: int) -> None:
        """End a stream, unless it was reset."""
        with suppress(NoSuchStreamError):
            self.machine.end_stream(stream_id)

    def send_data(self, stream_id: int, data: bytes, *, ends: bool) -> None:
        """Send bytes of a stream, for which there is room, unless it was reset; see `flush`."""
        with suppress(NoSuchStreamError):
            self.machine.send_data(stream_id, data, end_stream=ends)
            self._unflushed_bytes += len(data)

    def flush(self) -> None:
        """Send what the machine wants to be sent."""
        self._unflushed_bytes = 0
        data = self.machine.data_to_send()
        if data and not self.is_over:
            self.outlet.send([data])

    def room(self, stream_id: int) -> int:
        """Return how many bytes of a stream can be sent now; flushes what has come together."""
        if self._unflushed_bytes > MAX_UNFLUSHED_BYTES:
            self.flush()
        if self.is_over or self.outlet.is_full:
            return 0
        try:
            window: int = self.machine.local_flow_control_window(stream_id)
        except ProtocolError:
            return 0  # it was reset: the event that says so is on its way
        return max(0, min(window, self.machine.max_outbound_frame_size))

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let the peer send so much more: it was passed on, or nobody wants it."""
        if size and not self.is_over:
            with suppress(ProtocolError):
                self.machine.acknowledge_received_data(size, stream_id)

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream with bytes missing, if it has not ended."""
        if not self.is_over:
            with suppress(ProtocolError):
                self.machine.reset_stream(stream_id, code)
