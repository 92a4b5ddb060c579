"""A session: numbering, acknowledgement, replay, and its streams (no I/O).

How it works.  A session lives at its two endpoints and borrows a link (an *outlet*) to reach the
other one.  Every sequenced frame gets the next number at the moment it is written to the outlet,
and a copy stays in `_kept` until the peer acknowledges it.  When the link is lost, the session
attaches over another one; both sides say the last number they received, each replays what the
other lacks, and the receiver drops what it has already.  Above this, streams notice a pause only.

What may be sent when, in this order of preference:

1. replay: until it is finished nothing else is numbered, because the peer takes only the next
   number;
2. control frames (`send_control`): queued without bound by the window's size, but the things that
   cause them are bounded; they may use CONTROL_RESERVE_BYTES above the window;
3. data: only as much as the window leaves; streams that wait are served in turn.

`ack` and `window` frames are not sequenced: they carry absolute state, so at most one of each is
pending per session or stream, and after an attach all are sent again.

Time, randomness and proofs come from outside; the owner (`SessionOwner`) is told what happened.
A protocol error raised from `receive` ends the session, not the link.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from struct import Struct
from typing import Final, Protocol, TypeAlias

from tunnelkit import limits
from tunnelkit.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, SessionError

from .frames import (
    FIELDS,
    HEADER,
    SESSION_FIELD,
    FrameType,
    Role,
    Value,
    decode_fields,
    encode_fields,
    encode_open,
)
from .states import ATTACHMENT, Attachment, Half, Input, Phase
from .stream import Buffer, StreamCore
from .windows import WindowBudget

__all__ = ["AttachmentLost", "Outlet", "SessionCore", "SessionOwner"]

_PACK: Final = HEADER.pack
_DATA: Final = int(FrameType.DATA)
_U64: Final = Struct("!Q")
_KEEP: Final = limits.KEEP_BY_REFERENCE_BYTES
_LATE: Final = (FrameType.OPENED, FrameType.REFUSED, FrameType.STOP, FrameType.RESET)
_BEFORE_OPEN: Final = (FrameType.SESSION_OPEN, FrameType.ACK)
_MAX_WAITING_CONTROL: Final = 4
"""Control frames that may wait, for each stream that the peer may have open."""
_LEAST_DATA: Final = 4096
"""Room in the window below which no data frame is begun: many tiny ones would cost more."""
_OVERHEAD: Final = limits.FRAME_OVERHEAD_BYTES


class AttachmentLost(Exception):
    """The peer's frames have a gap: this attachment ends, the session attaches again."""


class Outlet(Protocol):
    """Where an attached session writes; a link, or a list in a test."""

    @property
    def is_clear(self) -> bool:
        """Whether frames written now go out at once; False while some wait for the socket."""

    def write(self, first: Buffer, second: Buffer | None = None) -> None:
        """Take one frame, whole or as header and payload; never refuses."""

    def want_state(self, session: SessionCore) -> None:
        """Call `session.write_state` before the next flush."""


class SessionOwner(Protocol):
    """Who is told what happens in a session; no call may raise."""

    def peer_opened(self, values: Mapping[str, Value]) -> None:
        """The peer's `session-open` arrived: check it, then call `establish` or `end`."""

    def stream_offered(self, stream: StreamCore) -> None:
        """The peer opens a stream: set its sink, then accept or refuse it, now or later."""

    def ack_wanted(self) -> None:
        """Call `ack_now` within ACK_AFTER_SECONDS."""

    def session_over(self, code: int, text: str) -> None:
        """The session has ended; every stream has been told."""

    def all_acknowledged(self) -> None:
        """The peer has received everything that was sent."""


_Kept: TypeAlias = tuple[int, bytes, "Buffer | None"]
"""A numbered frame that the peer has not acknowledged: cost, header (with a small payload), and
payload.  A tuple, because one is made for every frame."""


class SessionCore:
    """One side of a session.

    Args:
        owner: who is told.
        role: which side this is; decides the parity of stream ids.
        window_bytes: most unacknowledged bytes kept, with overhead.
        stream_budget_bytes: what stream windows may grow by in all.
        max_stream_window_bytes: what one stream's window may grow to.
    """

    __slots__ = (
        "_ack_pending",
        "_acknowledged",
        "_cap",
        "_control",
        "_data_limit",
        "_dirty_windows",
        "_is_closing",
        "_kept",
        "_last_peer_stream",
        "_next_sequence",
        "_next_stream",
        "_replay_next",
        "_replay_unacked",
        "_threshold",
        "_unacked_in",
        "ack_due",
        "attachment",
        "budget",
        "bytes_in",
        "bytes_out",
        "duplicate_frames",
        "generation",
        "is_established",
        "max_stream_window_bytes",
        "number",
        "outlet",
        "owner",
        "peer_generation",
        "received",
        "replayed_bytes",
        "role",
        "streams",
        "unaccepted",
        "unacknowledged",
        "waiting",
        "window_bytes",
    )

    def __init__(
        self,
        owner: SessionOwner,
        role: Role,
        *,
        window_bytes: int = limits.DEFAULT_SESSION_WINDOW_BYTES,
        stream_budget_bytes: int = limits.DEFAULT_STREAM_BUDGET_BYTES,
        max_stream_window_bytes: int = limits.MAX_STREAM_WINDOW_BYTES,
    ) -> None:
        self.owner = owner
        self.role = role
        self.window_bytes = window_bytes
        self.max_stream_window_bytes = max_stream_window_bytes
        self.budget = WindowBudget(stream_budget_bytes)
        self.attachment = Attachment.DETACHED
        self.is_established = False
        self._is_closing = False
        self.outlet: Outlet | None = None
        self.number = 0
        self.generation = 0
        self.peer_generation = 0
        # sending
        self._next_sequence = 1
        self._acknowledged = 0
        self._kept: deque[_Kept] = deque()
        self._control: deque[tuple[int, int, bytes]] = deque()
        self._replay_next = 0
        self._replay_unacked = 0
        self._cap = 0
        self._data_limit = 0
        self.unacknowledged = 0
        self.waiting: deque[StreamCore] = deque()
        # receiving
        self.received = 0
        self._unacked_in = 0
        self._threshold = 0
        self._ack_pending = False
        self.ack_due = False
        self._dirty_windows: list[StreamCore] = []
        # streams
        self.streams: dict[int, StreamCore] = {}
        self._next_stream = 1 if role is Role.INITIATOR else 2
        self._last_peer_stream = 0
        self.unaccepted = 0
        self.limit(window_bytes)
        # counters, read when somebody asks
        self.bytes_in = 0
        self.bytes_out = 0
        self.replayed_bytes = 0
        self.duplicate_frames = 0

    # --- attachment -------------------------------------------------------------------------

    def attach(self, outlet: Outlet, number: int) -> None:
        """Begin to attach over *outlet* under a link-local *number*; replaces an earlier one."""
        self._move(Input.ATTACH)
        self.outlet = outlet
        self.number = number
        self.generation += 1

    def attached(self, generation: int, received: int, cap: int) -> None:
        """The peer is there: it is at *generation* and has received up to number *received*.

        Raises:
            SessionError: the numbers are impossible (code STATE_LOST): the session is to end.
        """
        self.check_peer(generation, received)
        self._move(Input.GOT_ATTACHED)
        self.peer_generation = generation
        self.limit(cap)
        self._forget_acknowledged(received)
        self._replay_next = self._acknowledged + 1
        self._replay_unacked = 0
        self.ack_due = True
        if self.outlet is not None:
            self.outlet.want_state(self)
        self.resume()

    def check_peer(self, generation: int, received: int) -> None:
        """Raise SessionError if the peer cannot rightly be at these numbers."""
        if generation <= self.peer_generation:
            raise SessionError(
                ErrorCode.STALE_GENERATION,
                f"attach with generation {generation} after {self.peer_generation}",
            )
        if not self._acknowledged <= received < self._next_sequence:
            raise SessionError(
                ErrorCode.STATE_LOST,
                f"the peer says it received up to {received}, "
                f"possible is {self._acknowledged} to {self._next_sequence - 1}",
            )

    def detached(self, why: Input = Input.LINK_LOST) -> None:
        """The attachment is gone: by `<detached>` or with its link."""
        self._move(why)
        self.outlet = None
        self.number = 0

    def limit(self, cap: int) -> None:
        """Take the smallest cap of the path, bytes."""
        self._cap = min(self.window_bytes, cap)
        self._data_limit = max(1, self._cap - _OVERHEAD - min(_LEAST_DATA, self._cap // 4))
        self._threshold = self._cap // limits.ACK_WINDOW_FRACTION

    def establish(self) -> None:
        """The peer's `session-open` was accepted: streams may be sent."""
        self.is_established = True
        self.resume()

    def end(self, code: int, text: str) -> None:
        """End the session here and now; streams are told, the peer is not."""
        if self.attachment is Attachment.ENDED:
            return
        self._move(Input.FINISH)
        self.outlet = None
        streams, self.streams = list(self.streams.values()), {}
        for stream in streams:
            stream.session_ended(code, text)
        self._kept.clear()
        self._control.clear()
        self.waiting.clear()
        self._dirty_windows.clear()
        self.unacknowledged = 0
        self.owner.session_over(code, text)

    @property
    def is_attached(self) -> bool:
        """Whether the session is joined to its peer now."""
        return self.attachment is Attachment.ATTACHED

    @property
    def is_idle(self) -> bool:
        """Whether everything that was to be sent has been sent and acknowledged."""
        return not self._kept and not self._control

    def _move(self, what: Input) -> None:
        after = ATTACHMENT.get((self.attachment, what))
        if after is None:
            by_peer = what in (Input.GOT_ATTACHED, Input.GOT_DETACHED)
            error = RemoteProtocolError if by_peer else LocalProtocolError
            raise error(f"{what.value} while {self.attachment.value}")
        self.attachment = after

    # --- sending ----------------------------------------------------------------------------

    def open_stream(self, target: str, metadata: tuple[tuple[int, bytes], ...] = ()) -> StreamCore:
        """Open a stream to *target*; the answer comes to its `on_answer`.

        Raises:
            LocalProtocolError: the session has ended, or has used up its stream ids.
        """
        if self.attachment is Attachment.ENDED:
            raise LocalProtocolError("the session has ended")
        stream_id = self._next_stream
        if stream_id >= 1 << 32:
            raise LocalProtocolError("the session has used up its stream ids: open a new one")
        payload = encode_open(target, metadata)
        self._next_stream += 2
        stream = StreamCore(self, stream_id, Phase.OPENING, target, metadata)
        self.streams[stream_id] = stream
        self.send_control(FrameType.OPEN, stream_id, payload)
        return stream

    def send_data(self, stream_id: int, data: Buffer, most: int) -> int:
        """Number and write up to *most* bytes of *data*; return how many."""
        outlet = self.outlet
        taken = 0
        while taken < most and outlet is not None and self.can_send_data:
            frame = limits.SHARED_FRAME_BYTES if self.waiting else limits.BULK_FRAME_BYTES
            size = min(most - taken, frame, self._cap - self.unacknowledged - _OVERHEAD)
            if size == len(data):
                self._write(_DATA, stream_id, data)
            else:
                self._write(_DATA, stream_id, memoryview(data)[taken : taken + size])
            taken += size
        self.bytes_out += taken
        return taken

    def send_control(self, frame_type: int, stream_id: int, payload: bytes = b"") -> None:
        """Send a sequenced control frame now, or as soon as it can go."""
        if self.attachment is Attachment.ENDED or self._is_closing:
            return
        # Nothing may follow a session-close: the peer would not acknowledge it.
        self._is_closing = frame_type == FrameType.SESSION_CLOSE
        if self._control or not self._may_control(frame_type):
            self._control.append((frame_type, stream_id, payload))
        else:
            self._write(frame_type, stream_id, payload)

    def send_session_open(self, share: bytes, token: bytes, signature: bytes) -> None:
        """Send this side's `session-open`, the first sequenced frame of each direction."""
        payload = encode_fields(
            FrameType.SESSION_OPEN,
            role=int(self.role),
            share=share,
            token=token,
            signature=signature,
        )
        self.send_control(FrameType.SESSION_OPEN, 0, payload)

    def send_close(self, code: int, text: str) -> None:
        """Tell the peer that the session is over once it has received all before this."""
        payload = encode_fields(FrameType.SESSION_CLOSE, code=code, text=text[:200])
        self.send_control(FrameType.SESSION_CLOSE, 0, payload)

    def resume(self) -> None:
        """Send what can be sent: replay, control, then streams in turn."""
        if self.outlet is None or self.attachment is not Attachment.ATTACHED:
            return
        if self._replay_next and not self._replay():
            return
        control = self._control
        while control and self._may_control(control[0][0]):
            self._write(*control.popleft())
        turns = len(self.waiting)
        while turns and self.can_send_data:
            turns -= 1
            stream = self.waiting.popleft()
            stream.is_blocked = False
            if stream.outgoing is Half.OPEN:
                stream.sink.resume()
            if not turns:
                turns = len(self.waiting)

    @property
    def can_send_data(self) -> bool:
        """Whether a data frame may be numbered and written now."""
        return (
            self.unacknowledged < self._data_limit
            and self.outlet is not None
            and self.outlet.is_clear
            and not self._replay_next
            and not self._control
            and self.is_established
            and not self._is_closing
            and self.attachment is Attachment.ATTACHED
        )

    def _may_control(self, frame_type: int) -> bool:
        return (
            self.outlet is not None
            and self.outlet.is_clear
            and self.attachment is Attachment.ATTACHED
            and not self._replay_next
            and self.unacknowledged < self._cap + limits.CONTROL_RESERVE_BYTES
            and (self.is_established or frame_type == FrameType.SESSION_OPEN)
        )

    def _write(self, frame_type: int, stream_id: int, payload: Buffer) -> None:
        """Give the frame its number, keep it, and write it."""
        size = len(payload)
        first = _PACK(frame_type, 0, 0, self.number, stream_id, size, self._next_sequence)
        second: Buffer | None = None
        if size < _KEEP:
            first += payload
        elif type(payload) is bytes or (type(payload) is memoryview and payload.readonly):
            second = payload
        else:
            second = bytes(payload)
        self._next_sequence += 1
        cost = size + _OVERHEAD
        self._kept.append((cost, first, second))
        self.unacknowledged += cost
        assert self.outlet is not None  # the callers checked it
        self.outlet.write(first, second)

    def _replay(self) -> bool:
        """Write frames again that the peer has not received; return whether all are written."""
        outlet = self.outlet
        assert outlet is not None  # `resume` checked it
        number = SESSION_FIELD.pack(self.number)
        while self._replay_next < self._next_sequence:
            if not outlet.is_clear or self._replay_unacked >= self._cap:
                return False
            cost, first, second = self._kept[self._replay_next - self._acknowledged - 1]
            outlet.write(first[:4] + number + first[8:], second)
            self.replayed_bytes += cost - _OVERHEAD
            self._replay_unacked += cost
            self._replay_next += 1
        self._replay_next = 0
        for stream in self.streams.values():
            self.announce_window(stream)
        return True

    # --- acknowledgements and windows -------------------------------------------------------

    def ack_now(self) -> None:
        """Send the pending acknowledgement with the next flush, if there is one."""
        if self._ack_pending and self.outlet is not None:
            self.ack_due = True
            self.outlet.want_state(self)

    def announce_window(self, stream: StreamCore) -> None:
        """Send the stream's credit with the next flush."""
        if not stream.window_dirty:
            stream.window_dirty = True
            self._dirty_windows.append(stream)
        if self.outlet is not None:
            self.outlet.want_state(self)

    def write_state(self, now: float) -> None:
        """Write pending `ack` and `window` frames; the outlet calls it before a flush."""
        if self.attachment is not Attachment.ATTACHED or self.outlet is None:
            return
        if self.ack_due:
            self._write_ack(self.outlet)
        if self._dirty_windows and not self._replay_next:
            dirty, self._dirty_windows = self._dirty_windows, []
            for stream in dirty:
                stream.window_dirty = False
                if stream.incoming is Half.OPEN:
                    self._write_window(self.outlet, stream, now)

    def _write_ack(self, outlet: Outlet) -> None:
        self.ack_due = self._ack_pending = False
        self._unacked_in = 0
        payload = _U64.pack(self.received)
        outlet.write(_PACK(FrameType.ACK, 0, 0, self.number, 0, 8, 0) + payload)

    def _write_window(self, outlet: Outlet, stream: StreamCore, now: float) -> None:
        payload = _U64.pack(stream.window.update(now, self.budget))
        outlet.write(_PACK(FrameType.WINDOW, 0, 0, self.number, stream.stream_id, 8, 0) + payload)

    def _receive_ack(self, received: int) -> None:
        if received >= self._next_sequence:
            raise RemoteProtocolError(f"ack of frame {received}, which was never sent")
        self._forget_acknowledged(received)
        self.resume()

    def _forget_acknowledged(self, received: int) -> None:
        kept = self._kept
        while self._acknowledged < received:
            cost = kept.popleft()[0]
            self.unacknowledged -= cost
            self._acknowledged += 1
            if self._acknowledged < self._replay_next:
                self._replay_unacked -= cost
        if self._replay_next and self._replay_next <= self._acknowledged:
            self._replay_next = self._acknowledged + 1
        if not kept and not self._control:
            self.owner.all_acknowledged()

    # --- receiving --------------------------------------------------------------------------

    def receive(
        self, kind: int, flags: int, stream_id: int, sequence: int, payload: memoryview
    ) -> None:
        """Take one end-to-end frame of the peer; it may be hostile.

        Raises:
            RemoteProtocolError: the peer broke the protocol: the session is to end.
            AttachmentLost: frames are missing: the session is to attach again.
        """
        if self.attachment is not Attachment.ATTACHED:
            return
        if 0x20 <= kind < 0x40:
            if sequence == self.received + 1:
                self.received = sequence
            elif self._is_duplicate(sequence):
                return
            self._unacked_in += len(payload) + _OVERHEAD
            if not self._ack_pending or self._unacked_in >= self._threshold:
                self._see_to_ack()
        if kind == _DATA:
            stream = self.streams.get(stream_id)
            if stream is None:
                raise RemoteProtocolError(f"data on stream {stream_id}, which is not open")
            self.bytes_in += len(payload)
            stream.receive_data(payload)
        else:
            self._receive_control(kind, flags, stream_id, payload)

    def _is_duplicate(self, sequence: int) -> bool:
        """Say whether a frame that is not the expected one was received before.

        Raises:
            AttachmentLost: its number is too high: frames are missing.
        """
        if sequence <= self.received:
            self.duplicate_frames += 1
            return True
        raise AttachmentLost(f"frame {sequence} after {self.received}")

    def _see_to_ack(self) -> None:
        """Acknowledge with the next flush after a part of the window, else soon."""
        if self._unacked_in >= self._threshold:
            if not self.ack_due and self.outlet is not None:
                self._ack_pending = self.ack_due = True
                self.outlet.want_state(self)
        else:
            self._ack_pending = True
            self.owner.ack_wanted()

    def _receive_control(self, kind: int, flags: int, stream_id: int, payload: memoryview) -> None:
        try:
            frame_type = FrameType(kind)
        except ValueError:
            if flags & 1:
                return
            raise RemoteProtocolError(f"unknown frame type {kind:#04x}") from None
        if frame_type not in FIELDS or len(payload) > limits.MAX_CONTROL_BYTES:
            raise RemoteProtocolError(f"{frame_type.name} of {len(payload)} bytes")
        if not self.is_established and frame_type not in _BEFORE_OPEN:
            raise RemoteProtocolError(f"{frame_type.name} before session-open")
        values = decode_fields(frame_type, payload)
        if stream_id == 0:
            self._receive_for_session(frame_type, values)
        elif frame_type is FrameType.OPEN:
            self._receive_open(stream_id, values)
        else:
            self._receive_for_stream(frame_type, stream_id, values)

    def _receive_for_session(self, frame_type: FrameType, values: Mapping[str, Value]) -> None:
        match frame_type:
            case FrameType.ACK:
                self._receive_ack(_int(values["received"]))
            case FrameType.SESSION_OPEN:
                if self.is_established or self.received != 1:
                    raise RemoteProtocolError("session-open that is not the first frame")
                self.owner.peer_opened(values)
            case FrameType.SESSION_CLOSE:
                self._close_by_peer(_int(values["code"]), str(values["text"]))
            case _:
                raise RemoteProtocolError(f"{frame_type.name} without a stream")

    def _close_by_peer(self, code: int, text: str) -> None:
        if self.outlet is not None:
            self._write_ack(self.outlet)
        self.end(code, text)

    def _receive_open(self, stream_id: int, values: Mapping[str, Value]) -> None:
        peer_parity = 0 if self.role is Role.INITIATOR else 1
        if len(self._control) > _MAX_WAITING_CONTROL * limits.MAX_STREAMS_PER_SESSION:
            raise RemoteProtocolError("the peer opens streams and takes no answers")
        if stream_id % 2 != peer_parity or stream_id <= self._last_peer_stream:
            raise RemoteProtocolError(f"open of stream {stream_id}, which is not a new one")
        self._last_peer_stream = stream_id
        metadata = values["metadata"]
        assert isinstance(metadata, tuple)  # the field table says so
        stream = StreamCore(self, stream_id, Phase.OFFERED, str(values["target"]), metadata)
        self.streams[stream_id] = stream
        self.unaccepted += 1
        if len(self.streams) > limits.MAX_STREAMS_PER_SESSION:
            stream.refuse(ErrorCode.LIMIT_EXCEEDED, "too many streams in this session")
        elif self.unaccepted > limits.MAX_UNACCEPTED_OPENS:
            stream.refuse(ErrorCode.LIMIT_EXCEEDED, "too many opens wait for an answer")
        else:
            self.owner.stream_offered(stream)

    def _receive_for_stream(
        self, frame_type: FrameType, stream_id: int, values: Mapping[str, Value]
    ) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            if frame_type is FrameType.WINDOW or self._is_late(frame_type, stream_id):
                return
            raise RemoteProtocolError(f"{frame_type.name} on stream {stream_id}: not open")
        match frame_type:
            case FrameType.WINDOW:
                stream.receive_credit(_int(values["credit"]))
                self.resume()
            case FrameType.OPENED:
                stream.receive_opened()
            case FrameType.REFUSED:
                stream.receive_refused(_int(values["code"]), str(values["text"]))
            case FrameType.END:
                stream.receive_end()
            case FrameType.STOP:
                stream.receive_stop(_int(values["code"]))
            case FrameType.RESET:
                stream.receive_reset(
                    _int(values["direction"]), _int(values["code"]), str(values["text"])
                )
            case _:
                raise RemoteProtocolError(f"{frame_type.name} on a stream")

    def _is_late(self, frame_type: FrameType, stream_id: int) -> bool:
        """Whether the peer sent this before it knew that the stream is over."""
        if stream_id % 2 == self._next_stream % 2:
            was_opened = stream_id < self._next_stream
        else:
            was_opened = stream_id <= self._last_peer_stream
        return was_opened and frame_type in _LATE

    def forget(self, stream: StreamCore) -> None:
        """Drop a stream that is over in both directions."""
        if self.streams.pop(stream.stream_id, None) is not None:
            stream.window.close(self.budget)
            if stream.phase is Phase.OFFERED:
                self.unaccepted -= 1


def _int(value: Value) -> int:
    assert isinstance(value, int)  # the field table says so
    return value
