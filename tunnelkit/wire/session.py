"""A session: numbering, acknowledgement, replay, and its streams (no I/O).

How it works.  A session lives at its two endpoints and borrows a link (an *outlet*) to reach the
other one.  Every sequenced frame gets the next number at the moment it is written to the outlet,
and a copy stays in `_kept` until the peer acknowledges it.  When the link is lost, the session
attaches over another one; both sides say the last number they received, each replays what the
other lacks, and the receiver drops what it has already.  Above this, streams notice a pause only.

`sending` is the half that numbers, keeps and replays; this file receives, and knows the streams.

Time, randomness and proofs come from outside; the owner (`SessionOwner`) is told what happened.
A protocol error raised from `receive` ends the session, not the link.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from tunnelkit import limits
from tunnelkit.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

from .frames import (
    FIELDS,
    FRAME_TYPES,
    FrameType,
    Role,
    Value,
    decode_fields,
    encode_fields,
    encode_open,
)
from .sending import Outlet, Sender
from .states import Attachment, Input, Phase
from .stream import StreamCore
from .windows import Budgets

__all__ = ["AttachmentLost", "Outlet", "SessionCore", "SessionOwner"]

_DATA: Final = int(FrameType.DATA)
_ATTACHED: Final = Attachment.ATTACHED  # looked up once: a member of an enum costs two look-ups
_LATE: Final = (FrameType.OPENED, FrameType.REFUSED, FrameType.STOP, FrameType.RESET)
_BEFORE_OPEN: Final = (FrameType.SESSION_OPEN, FrameType.ACK)
_MAX_WAITING_CONTROL: Final = 4
"""Control frames that may wait, for each stream that the peer may have open."""
_OVERHEAD: Final = limits.FRAME_OVERHEAD_BYTES


class AttachmentLost(Exception):
    """The peer's frames have a gap: this attachment ends, the session attaches again."""


class SessionOwner(Protocol):
    """Who is told what happens in a session; no call may raise."""

    def peer_opened(self, values: Mapping[str, Value]) -> None:
        """The peer's `session-open` arrived: check it, then call `establish` or `end`."""

    def peer_renewed(self, values: Mapping[str, Value]) -> None:
        """The peer shows a newer token: check it, and `end` the session if it is not right."""

    def peer_named_addresses(self, text: str) -> None:
        """The peer accepts direct links at these addresses."""

    def stream_offered(self, stream: StreamCore) -> None:
        """The peer opens a stream: set its sink, then accept or refuse it, now or later."""

    def ack_wanted(self) -> None:
        """Call `ack_now` within ACK_AFTER_SECONDS."""

    def session_over(self, code: int, text: str) -> None:
        """The session has ended; every stream has been told."""

    def all_acknowledged(self) -> None:
        """The peer has received everything that was sent."""


class SessionCore(Sender):
    """One side of a session.

    Args:
        owner: who is told.
        role: which side this is; decides the parity of stream ids.
        window_bytes: unacknowledged bytes that are kept without asking, with overhead.
        budgets: what that may grow by, and the windows of streams; shared with other sessions.
        max_stream_window_bytes: what one stream's window may grow to.
    """

    __slots__ = (
        "_last_peer_stream",
        "_next_stream",
        "bytes_in",
        "duplicate_frames",
        "max_stream_window_bytes",
        "owner",
        "role",
        "unaccepted",
    )

    def __init__(
        self,
        owner: SessionOwner,
        role: Role,
        *,
        window_bytes: int = limits.DEFAULT_SESSION_WINDOW_BYTES,
        budgets: Budgets | None = None,
        max_stream_window_bytes: int = limits.MAX_STREAM_WINDOW_BYTES,
    ) -> None:
        super().__init__(window_bytes, budgets or Budgets())
        self.owner = owner
        self.role = role
        self.max_stream_window_bytes = max_stream_window_bytes
        self._next_stream = 1 if role is Role.INITIATOR else 2
        self._last_peer_stream = 0
        self.unaccepted = 0
        self.bytes_in = 0
        self.duplicate_frames = 0

    # --- life -------------------------------------------------------------------------------

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
            stream.release_window()
        self.window.close()
        self._kept.clear()
        self._control.clear()
        self.waiting.clear()
        self.fresh.clear()
        self._dirty_windows.clear()
        self._answered.clear()
        self.unacknowledged = 0
        self.owner.session_over(code, text)

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

    def send_renew(self, token: bytes, signature: bytes) -> None:
        """Show a newer token of this side; the session is established."""
        payload = encode_fields(FrameType.SESSION_RENEW, token=token, signature=signature)
        self.send_control(FrameType.SESSION_RENEW, 0, payload)

    def send_addresses(self, text: str) -> None:
        """Tell the peer where this endpoint accepts direct links."""
        payload = encode_fields(FrameType.ADDRESSES, addresses=text)
        self.send_control(FrameType.ADDRESSES, 0, payload)

    def send_close(self, code: int, text: str) -> None:
        """Tell the peer that the session is over once it has received all before this."""
        payload = encode_fields(FrameType.SESSION_CLOSE, code=code, text=text[:200])
        self.send_control(FrameType.SESSION_CLOSE, 0, payload)

    def all_acknowledged(self) -> None:
        self.owner.all_acknowledged()

    def _receive_ack(self, received: int) -> None:
        if received >= self._next_sequence:
            raise RemoteProtocolError(f"ack of frame {received}, which was never sent")
        if received < self._must_have:
            text = f"the peer has received up to {received}, and had {self._must_have} before"
            raise RemoteProtocolError(text, ErrorCode.STATE_LOST)
        self._must_have = 0
        self._forget_acknowledged(received)
        self.resume()

    # --- receiving --------------------------------------------------------------------------

    def receive(
        self, kind: int, flags: int, stream_id: int, sequence: int, payload: memoryview
    ) -> None:
        """Take one end-to-end frame of the peer; it may be hostile.

        Raises:
            RemoteProtocolError: the peer broke the protocol: the session is to end.
            AttachmentLost: frames are missing: the session is to attach again.
        """
        if self.attachment is not _ATTACHED:
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
        frame_type = FRAME_TYPES.get(kind)
        if frame_type is None:
            if flags & 1:
                return
            raise RemoteProtocolError(f"unknown frame type {kind:#04x}")
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
            case FrameType.SESSION_RENEW:
                self.owner.peer_renewed(values)
            case FrameType.ADDRESSES:
                self.owner.peer_named_addresses(str(values["addresses"]))
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
            stream.release_window()
            if stream.phase is Phase.OFFERED:
                self.unaccepted -= 1


def _int(value: Value) -> int:
    assert isinstance(value, int)  # the field table says so
    return value
