"""What one side of HTTP/2 says: its streams, their windows, and frames to be sent (no I/O).

This is the half of the machine (`h2_machine`) that its user drives; the other half reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tunnelkit.errors import LocalProtocolError

from .h2_events import Headers
from .h2_frames import (
    HEADER,
    PREFACE,
    ErrorCodes,
    Flag,
    Kind,
    Setting,
    header_frames,
    settings_frame,
    word_frame,
)
from .h2_gate import Gate
from .h2_hpack import Packer
from .h2_settings import DEFAULT_WINDOW_BYTES, PeerSettings
from .h2_streams import Recent, Stream

__all__ = ["MachineLimits", "Sending"]

MAX_REMEMBERED: Final = 1_000
"""Streams of which it is known that we have reset them, or how they ended.  Stops: memory for all
streams that ever were."""

_DATA: Final = int(Kind.DATA)
_END_STREAM: Final = int(Flag.END_STREAM)


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """What we take of a peer."""

    max_streams: int
    """Streams that it may have open at once."""
    stream_window_bytes: int
    """What of a stream may be under way; at least 65,535, which is what a peer begins with."""
    connection_window_bytes: int
    """What of all streams may be under way; more than 65,535."""
    max_header_bytes: int
    """Most bytes of the fields of one message, packed or unpacked."""


class Sending:
    """The half of a machine that says something.

    Sending on a stream that is no more does nothing: the event that says so is on its way.

    Args:
        is_client: whether this side asks.
        limits: what we take of the peer.
    """

    def __init__(self, *, is_client: bool, limits: MachineLimits) -> None:
        self.is_client = is_client
        self.limits = limits
        self.peer = PeerSettings(is_client=not is_client)
        self.next_stream_id = 1
        """Of the stream that a client opens next."""
        self.is_closed = False
        """Whether GOAWAY was sent: nothing is said or heard any more."""
        self._streams: dict[int, Stream] = {}
        self._ended = Recent(MAX_REMEMBERED)
        """Streams that both sides have ended."""
        self._cut = Recent(MAX_REMEMBERED)
        """Streams that we have reset: what comes of them was under way."""
        self._last_stream_id = 0
        """The latest stream that a client has opened."""
        self._gate = Gate(is_client=not is_client)
        self._uncounted_resets = 0
        """Streams that we were told to reset because the peer has broken a rule."""
        self._packer = Packer()
        self._send_window = DEFAULT_WINDOW_BYTES
        self._receive_window = limits.connection_window_bytes
        self._taken_bytes = 0
        """What was acknowledged, and the peer was not told yet."""
        self._out: list[bytes] = []
        self._begin()

    def _begin(self) -> None:
        wanted = {
            Setting.MAX_CONCURRENT_STREAMS: self.limits.max_streams,
            Setting.INITIAL_WINDOW_SIZE: self.limits.stream_window_bytes,
            Setting.MAX_HEADER_LIST_SIZE: self.limits.max_header_bytes,
        }
        if self.is_client:
            self._out.append(PREFACE)
            wanted[Setting.ENABLE_PUSH] = 0
        self._out.append(settings_frame(wanted))
        more = self.limits.connection_window_bytes - DEFAULT_WINDOW_BYTES
        self._out.append(word_frame(Kind.WINDOW_UPDATE, 0, more))

    @property
    def open_count(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def take_output(self) -> bytes:
        """Return what is to be sent."""
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    # --- streams ------------------------------------------------------------------------------

    def open_stream(self, headers: Headers, *, ends: bool) -> int:
        """Begin a request; return its stream.

        Raises:
            LocalProtocolError: this side answers.
        """
        if not self.is_client:
            raise LocalProtocolError("a server opens no streams")
        stream_id = self.next_stream_id
        self.next_stream_id += 2
        if not self.is_closed:
            method = next((value for name, value in headers if name == b":method"), b"")
            window = self.peer.window_bytes
            stream = Stream(stream_id, window, self.limits.stream_window_bytes, method)
            self._streams[stream_id] = stream
            self.send_headers(stream_id, headers, ends=ends)
        return stream_id

    def send_headers(self, stream_id: int, headers: Headers, *, ends: bool) -> None:
        """Send a head, or trailers."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.can_send:
            block = self._packer.pack(headers)
            frames = header_frames(stream_id, block, self.peer.max_frame_bytes, ends=ends)
            self._out.append(frames)
            if ends:
                self._end_sending(stream)

    def send_data(self, stream_id: int, data: bytes, *, ends: bool) -> None:
        """Send bytes of a stream.

        Raises:
            LocalProtocolError: there is no room for so many.
        """
        stream = self._streams.get(stream_id)
        if stream is None or not stream.can_send:
            return
        size = len(data)
        if size > self.room(stream_id):
            raise LocalProtocolError(f"{size} bytes in a window that is smaller")
        stream.send_window -= size
        self._send_window -= size
        flags = _END_STREAM if ends else 0
        self._out.append(HEADER.pack(size >> 8, size & 0xFF, _DATA, flags, stream_id))
        self._out.append(data)
        if ends:
            self._end_sending(stream)

    def end_stream(self, stream_id: int) -> None:
        """Say that nothing follows."""
        self.send_data(stream_id, b"", ends=True)

    def room(self, stream_id: int) -> int:
        """Return how many bytes of a stream can be sent in one frame now."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.can_send:
            return 0
        return max(0, min(stream.send_window, self._send_window, self.peer.max_frame_bytes))

    def reset_stream(self, stream_id: int, code: int) -> None:
        """End a stream with something missing."""
        if stream_id in self._streams:
            self._cut_stream(stream_id, code)
            self._uncounted_resets += code == ErrorCodes.PROTOCOL_ERROR

    def _cut_stream(self, stream_id: int, code: int) -> None:
        self._out.append(word_frame(Kind.RST_STREAM, stream_id, code))
        self._streams.pop(stream_id, None)
        self._cut.add(stream_id)

    def _end_sending(self, stream: Stream) -> None:
        stream.can_send = False
        if not stream.can_receive:
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        """Both sides have ended a stream."""
        del self._streams[stream.stream_id]
        self._ended.add(stream.stream_id)

    # --- what was taken -----------------------------------------------------------------------

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let the peer send so much more: it was used, or nobody wants it."""
        if self.is_closed:
            return
        self._taken_bytes += size
        if self._taken_bytes * 2 >= self.limits.connection_window_bytes:
            self._out.append(word_frame(Kind.WINDOW_UPDATE, 0, self._taken_bytes))
            self._receive_window += self._taken_bytes
            self._taken_bytes = 0
        stream = self._streams.get(stream_id)
        if stream is None or not stream.can_receive:
            return
        stream.taken_bytes += size
        if stream.taken_bytes * 2 >= self.limits.stream_window_bytes:
            self._out.append(word_frame(Kind.WINDOW_UPDATE, stream_id, stream.taken_bytes))
            stream.receive_window += stream.taken_bytes
            stream.taken_bytes = 0

    # --- the connection -----------------------------------------------------------------------

    def close_connection(self, code: int = ErrorCodes.NO_ERROR) -> None:
        """Say that it is over; nothing is said or heard after that."""
        if not self.is_closed:
            self.is_closed = True
            last = 0 if self.is_client else self._last_stream_id
            payload = last.to_bytes(4, "big") + int(code).to_bytes(4, "big")
            self._out.append(HEADER.pack(0, 8, Kind.GOAWAY, 0, 0) + payload)
            self._streams.clear()
