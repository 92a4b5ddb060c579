"""A connection of HTTP/2 (RFC 9113), of either role: bytes in and out, and events (no I/O).

How it works
------------
`receive` takes whatever bytes have come and returns what they say, as the events of `h2_events`,
in order.  Whatever is to be sent is collected, and taken by `take_output`.  A frame is never an
object: its header is read where it lies, and a table says which method takes its payload.

* *Two kinds of errors.*  What breaks a rule of one stream ends that stream (`StreamReset`, not by
  the peer); so does a body that is not as long as its head says.  What breaks a rule of the
  connection is a `Violation` inside, and outside a last event, `ConnectionFailed`; the peer is sent
  GOAWAY.  What came before it counts.  Nothing is raised, whatever comes.
* *Streams.*  Those that are open are in one table (`h2_streams`).  A stream that is over is
  forgotten, but for its number, for a while: frames that were under way when we reset a stream are
  passed over, and others get the error that the RFC names.
* *Fields.*  A block is unpacked even if nobody wants it, for the table that both sides keep.  It is
  bounded packed (in frames and bytes) and unpacked.  Nothing is asked of fields here but how long
  the body is; whether they are right is the business of `h2_fields`.
* *Windows.*  What comes is counted off the windows of stream and connection.  Whoever uses the
  bytes says so (`acknowledge`), stream or no stream; once half a window has been used the peer is
  told.  Bytes that no event tells of are acknowledged here.
* *Late sending.*  The machine may be ahead of whoever handles its events: the stream of one event
  may have been reset by the next.  So sending on a stream that is no more does nothing.
* *Floods.*  `h2_gate` counts what costs its sender nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .h2_events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoAway,
    Headers,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from .h2_frames import (
    HEADER,
    MAX_FRAME_BYTES,
    MAX_WINDOW_BYTES,
    PREFACE,
    ErrorCodes,
    Flag,
    Kind,
    Violation,
    check_connection,
    check_dependency,
    check_size,
    check_stream,
    unpadded,
)
from .h2_hpack import Unpacker
from .h2_sending import MachineLimits, Sending
from .h2_streams import Stream, body_bytes_of_answer, length_of

__all__ = ["Machine", "MachineLimits"]

MAX_CONTINUATIONS: Final = 64
"""Frames that a block of fields may go on in.  Stops: blocks without an end (CVE-2024-27316)."""

_ACK, _END_STREAM, _END_HEADERS = int(Flag.ACK), int(Flag.END_STREAM), int(Flag.END_HEADERS)
_PADDED, _PRIORITY_FLAG = int(Flag.PADDED), int(Flag.PRIORITY)
_SETTINGS, _CONTINUATION = int(Kind.SETTINGS), int(Kind.CONTINUATION)
_ID: Final = 0x7FFF_FFFF
_HEADER_BYTES: Final = HEADER.size


class Machine(Sending):
    """One connection.

    Args:
        is_client: whether this side asks.
        limits: what we take of the peer.
    """

    def __init__(self, *, is_client: bool, limits: MachineLimits) -> None:
        super().__init__(is_client=is_client, limits=limits)
        self._events: list[Event] = []
        self._is_window_told = False
        """Whether the events have one that more may be sent on all streams: one is enough."""
        self._now = 0.0
        self._rest = b""
        """Of a frame, or of the preface, of which not all has come."""
        self._awaits_preface = not is_client
        self._only: int | None = _SETTINGS
        """The kind that has to come next; None: any."""
        self._unpacker = Unpacker(limits.max_header_bytes)
        self._block = b""
        """Fields of which more is to come."""
        self._block_of = (0, False)
        """Their stream, and whether they end it."""
        self._continuations = 0
        self._takers: dict[int, Callable[[int, int, bytes], None]] = {
            Kind.DATA: self._on_data,
            Kind.HEADERS: self._on_headers,
            Kind.PRIORITY: self._on_priority,
            Kind.RST_STREAM: self._on_reset,
            Kind.SETTINGS: self._on_settings,
            Kind.PUSH_PROMISE: self._on_push,
            Kind.PING: self._on_ping,
            Kind.GOAWAY: self._on_goaway,
            Kind.WINDOW_UPDATE: self._on_window,
            Kind.CONTINUATION: self._on_continuation,
        }

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Return what bytes of the peer say.

        Args:
            now: seconds of any one steady clock.
        """
        if self.is_closed:
            return []
        self._now = now
        self._events, self._is_window_told = [], False
        try:
            self._count_resets()
            self._rest = self._take(self._rest + data if self._rest else data)
        except Violation as error:
            self.close_connection(error.code)
            self._rest = self._block = b""
            self._events.append(ConnectionFailed(error.code, str(error)))
        return self._events

    def _count_resets(self) -> None:
        while self._uncounted_resets:
            self._uncounted_resets -= 1
            self._gate.count_reset(self._now)

    def _take(self, data: bytes) -> bytes:
        """Take frames; return the beginning of one of which not all has come."""
        at, size = 0, len(data)
        if self._awaits_preface:
            if data[: len(PREFACE)] != PREFACE[:size]:
                raise Violation(ErrorCodes.PROTOCOL_ERROR, "something else than a preface")
            if size < len(PREFACE):
                return data
            self._awaits_preface = False
            at = len(PREFACE)
        takers, unpack = self._takers, HEADER.unpack_from
        while size - at >= _HEADER_BYTES:
            high, low, kind, flags, stream_id = unpack(data, at)
            length = high << 8 | low
            if length > MAX_FRAME_BYTES:
                raise Violation(ErrorCodes.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            stream_id &= _ID
            if self._only is not None:
                self._check_order(kind, flags, stream_id)
            end = at + _HEADER_BYTES + length
            if end > size:
                break
            taker = takers.get(kind)
            if taker is not None:
                taker(flags, stream_id, data[at + _HEADER_BYTES : end])
            else:
                self._gate.count_control(self._now)
            at = end
        return data[at:]

    def _check_order(self, kind: int, flags: int, stream_id: int) -> None:
        is_right = kind == self._only
        if kind == _SETTINGS:
            is_right &= not flags & _ACK
        if self._only == _CONTINUATION:
            is_right &= stream_id == self._block_of[0]
        if not is_right:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "a frame where another one has to come")

    # --- streams ------------------------------------------------------------------------------

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        check_stream(stream_id)
        flow_bytes = len(payload)
        data = unpadded(payload) if flags & _PADDED else payload
        ends = bool(flags & _END_STREAM)
        self._receive_window -= flow_bytes
        if self._receive_window < 0:
            raise Violation(ErrorCodes.FLOW_CONTROL_ERROR, "more than the window of all streams")
        if not data and not ends:
            self._gate.count_control(self._now)
        stream = self._streams.get(stream_id)
        if stream is None:
            self.acknowledge(0, flow_bytes)
            self._on_closed(stream_id)
            return
        wrong = stream.take(len(data), flow_bytes, ends=ends)
        if wrong is not None:
            self.acknowledge(0, flow_bytes)
            self._fail_stream(stream_id, wrong)
            return
        self._events.append(DataReceived(stream_id, data, flow_bytes, ends))
        if ends and not stream.can_send:
            self._forget(stream)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        check_stream(stream_id)
        if flags & _PADDED:
            payload = unpadded(payload)
        if flags & _PRIORITY_FLAG:
            check_dependency(stream_id, payload)
            payload = payload[5:]
        self._block_of = (stream_id, bool(flags & _END_STREAM))
        if flags & _END_HEADERS:
            self._on_block(payload)
        else:
            self._block, self._continuations = payload, 0
            self._only = _CONTINUATION

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._only != _CONTINUATION:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block += payload
        self._continuations += 1
        is_long = len(self._block) > self.limits.max_header_bytes
        if is_long or self._continuations > MAX_CONTINUATIONS:
            raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, "a block of fields without an end")
        if flags & _END_HEADERS:
            self._only = None
            block, self._block = self._block, b""
            self._on_block(block)

    def _on_block(self, block: bytes) -> None:
        stream_id, ends = self._block_of
        headers = self._unpacker.unpack(block)
        stream = self._streams.get(stream_id)
        if stream is None:
            if self.is_client or stream_id <= self._last_stream_id:
                self._on_closed(stream_id, has_fields=True)
            else:
                self._on_request(stream_id, headers, ends=ends)
            return
        if not stream.can_receive:
            self._fail_stream(stream_id, ErrorCodes.STREAM_CLOSED)
        elif stream.has_head:
            self._on_trailers(stream, headers, ends=ends)
        else:
            self._on_answer(stream, headers, ends=ends)

    def _on_request(self, stream_id: int, headers: Headers, *, ends: bool) -> None:
        if not stream_id & 1:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "a client's stream of an even number")
        self._last_stream_id = stream_id
        if len(self._streams) >= self.limits.max_streams:
            self._cut_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            self._gate.count_control(self._now)  # nobody has done anything for it
            return
        stream = Stream(stream_id, self.peer.window_bytes, self.limits.stream_window_bytes)
        wrong = stream.begin(length_of(headers), ends=ends)
        if wrong is not None:
            self._fail_stream(stream_id, wrong)
            return
        self._streams[stream_id] = stream
        self._events.append(RequestReceived(stream_id, headers, ends))

    def _on_answer(self, stream: Stream, headers: Headers, *, ends: bool) -> None:
        stream_id = stream.stream_id
        status = next((value for name, value in headers if name == b":status"), b"")
        if status[:1] == b"1":
            if ends:
                self._fail_stream(stream_id, ErrorCodes.PROTOCOL_ERROR)
            else:
                self._events.append(InformationalResponseReceived(stream_id, headers))
            return
        left_bytes = body_bytes_of_answer(stream.method, status, headers)
        wrong = stream.begin(left_bytes, ends=ends)
        if wrong is not None:
            self._fail_stream(stream_id, wrong)
            return
        self._events.append(ResponseReceived(stream_id, headers, ends))
        if ends and not stream.can_send:
            self._forget(stream)

    def _on_trailers(self, stream: Stream, headers: Headers, *, ends: bool) -> None:
        wrong = stream.end() if ends else ErrorCodes.PROTOCOL_ERROR
        if wrong is not None:
            self._fail_stream(stream.stream_id, wrong)
            return
        self._events.append(TrailersReceived(stream.stream_id, headers))
        self._events.append(StreamEnded(stream.stream_id))
        if not stream.can_send:
            self._forget(stream)

    def _on_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        check_stream(stream_id)
        check_size(payload, 4)
        if self._streams.pop(stream_id, None) is None:
            self._check_not_idle(stream_id)
            return
        self._events.append(StreamReset(stream_id, int.from_bytes(payload, "big"), True))
        self._gate.count_reset(self._now)

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        check_stream(stream_id)
        self._gate.count_control(self._now)
        if len(payload) == 5:
            check_dependency(stream_id, payload)
        elif stream_id in self._streams:
            self._fail_stream(stream_id, ErrorCodes.FRAME_SIZE_ERROR)
        else:
            check_size(payload, 5)

    # --- streams that are not open ------------------------------------------------------------

    def _is_idle(self, stream_id: int) -> bool:
        """Return whether a stream was never open, and was not passed over."""
        if self.is_client:
            return not stream_id & 1 or stream_id >= self.next_stream_id
        return not stream_id & 1 or stream_id > self._last_stream_id

    def _check_not_idle(self, stream_id: int) -> None:
        if self._is_idle(stream_id):
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "a frame of a stream that is not open")

    def _on_closed(self, stream_id: int, *, has_fields: bool = False) -> None:
        """Something has come of a stream that is over (RFC 9113 §5.1 and §5.1.1)."""
        self._check_not_idle(stream_id)
        if stream_id in self._cut:
            return
        if stream_id in self._ended:
            raise Violation(ErrorCodes.STREAM_CLOSED, "a frame of a stream that has ended")
        if has_fields and not self.is_client:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "a stream of a lower number than another")
        self._fail_stream(stream_id, ErrorCodes.STREAM_CLOSED)

    def _fail_stream(self, stream_id: int, code: ErrorCodes) -> None:
        """The peer has broken a rule of one stream."""
        if stream_id in self._streams:
            self._events.append(StreamReset(stream_id, code, False))
        self._cut_stream(stream_id, code)
        self._gate.count_reset(self._now)

    # --- the connection -----------------------------------------------------------------------

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        check_connection(stream_id)
        self._gate.count_control(self._now)
        self._only = None
        if flags & _ACK:
            check_size(payload, 0)
            return
        before = self.peer.window_bytes
        self.peer.take(payload)
        self._packer.resize(self.peer.table_bytes)
        more = self.peer.window_bytes - before
        for stream in self._streams.values() if more else ():
            stream.send_window += more
            if stream.send_window > MAX_WINDOW_BYTES:
                raise Violation(ErrorCodes.FLOW_CONTROL_ERROR, "a window that is too large")
        self._out.append(HEADER.pack(0, 0, _SETTINGS, _ACK, 0))
        self._events.append(RemoteSettingsChanged())

    def _on_push(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise Violation(ErrorCodes.PROTOCOL_ERROR, "PUSH_PROMISE, which was not asked for")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        check_connection(stream_id)
        check_size(payload, 8)
        self._gate.count_control(self._now)
        if not flags & _ACK:
            self._out.append(HEADER.pack(0, 8, Kind.PING, _ACK, 0) + payload)

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        check_connection(stream_id)
        self._gate.count_control(self._now)
        if len(payload) < 8:
            raise Violation(ErrorCodes.FRAME_SIZE_ERROR, "GOAWAY without a reason")
        last = int.from_bytes(payload[:4], "big") & _ID
        self._events.append(GoAway(last, int.from_bytes(payload[4:8], "big")))

    def _on_window(self, flags: int, stream_id: int, payload: bytes) -> None:
        check_size(payload, 4)
        more = int.from_bytes(payload, "big") & _ID
        if not stream_id:
            self._send_window += more
            if not more:
                raise Violation(ErrorCodes.PROTOCOL_ERROR, "a window that opens by nothing")
            if self._send_window > MAX_WINDOW_BYTES:
                raise Violation(ErrorCodes.FLOW_CONTROL_ERROR, "a window that is too large")
            if not self._is_window_told:
                self._is_window_told = True
                self._events.append(WindowUpdated(0))
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_not_idle(stream_id)
            return
        stream.send_window += more
        if not more:
            self._fail_stream(stream_id, ErrorCodes.PROTOCOL_ERROR)
        elif stream.send_window > MAX_WINDOW_BYTES:
            self._fail_stream(stream_id, ErrorCodes.FLOW_CONTROL_ERROR)
        else:
            self._events.append(WindowUpdated(stream_id))
