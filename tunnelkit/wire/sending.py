"""What a session sends: numbers, copies, replay, acknowledgements and credit (no I/O).

Every sequenced frame gets the next number at the moment it is written to the outlet, and a copy
stays in `_kept` until the peer acknowledges it.  What may be sent when, in this order:

1. replay: until it is finished nothing else is numbered, because the peer takes only the next
   number; it keeps within the cap of the path like everything else;
2. control frames (`send_control`): they may use CONTROL_RESERVE_BYTES above the window;
3. data: only as much as the window leaves; streams that wait are served in turn, a frame's worth
   at a time.  One that comes with something new is served before those that had a turn and have
   more to send; but each of these has every second turn, so that none can be kept waiting.

`ack` and `window` frames are not sequenced: they carry absolute state, so at most one of each is
pending per session or stream, and after an attach all are sent again.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final, Protocol, TypeAlias

from tunnelkit import limits
from tunnelkit.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, SessionError

from .frames import HEADER, OPTIONAL_FRAMES, SEQUENCED_FRAMES, SESSION_FIELD, FrameType
from .replay import ReplayWindow
from .states import ATTACHMENT, Attachment, Half, Input
from .stream import Buffer, StreamCore
from .windows import Budgets, BudgetShare, RoundTrip

__all__ = ["Outlet", "Sender"]

_PACK: Final = HEADER.pack
_DATA: Final = int(FrameType.DATA)
_ATTACHED: Final = Attachment.ATTACHED  # looked up once: a member of an enum costs two look-ups
_ENDED: Final = Attachment.ENDED
_OPTIONAL: Final = int(min(SEQUENCED_FRAMES & OPTIONAL_FRAMES))
"""From this type on, a peer may not know a sequenced frame."""

_U64: Final = Struct("!Q")
_KEEP: Final = limits.KEEP_BY_REFERENCE_BYTES
_LEAST_DATA: Final = 4096
"""Room in the window below which no data frame is begun: many tiny ones would cost more."""
_OVERHEAD: Final = limits.FRAME_OVERHEAD_BYTES


class Outlet(Protocol):
    """Where an attached session writes; a link, or a list in a test."""

    @property
    def is_clear(self) -> bool:
        """Whether frames written now go out at once; False while some wait for the socket."""

    @property
    def frame_bytes(self) -> int:
        """Largest data frame that does not hold up the link, and what a stream sends in a turn."""

    def write(self, first: Buffer, second: Buffer | None = None) -> None:
        """Take one frame, whole or as header and payload; never refuses."""

    def want_state(self, session: Sender) -> None:
        """Call `session.write_state` before the next flush."""


_Kept: TypeAlias = tuple[int, bytes, "Buffer | None"]
"""A numbered frame that the peer has not acknowledged: cost, header (with a small payload), and
payload.  A tuple, because one is made for every frame."""


class Sender:
    """The sending half of a session, and its attachment; `SessionCore` is the whole."""

    __slots__ = (
        "_ack_pending",
        "_acknowledged",
        "_answered",
        "_cap",
        "_control",
        "_data_limit",
        "_dirty_windows",
        "_is_closing",
        "_joined_at",
        "_kept",
        "_must_have",
        "_next_sequence",
        "_path_cap",
        "_replay_next",
        "_replay_unacked",
        "_round_is_over",
        "_threshold",
        "_turn",
        "_unacked_in",
        "_was_fresh",
        "ack_due",
        "attachment",
        "budget",
        "bytes_out",
        "fresh",
        "generation",
        "is_established",
        "is_held",
        "last_reset",
        "number",
        "outlet",
        "peer_generation",
        "received",
        "replay_bytes",
        "replayed_bytes",
        "round_trip",
        "streams",
        "unacknowledged",
        "waiting",
        "window",
    )

    def __init__(self, window_bytes: int, budgets: Budgets) -> None:
        self.round_trip = RoundTrip()
        self.budget = BudgetShare(budgets.streams)
        self.window = ReplayWindow(window_bytes, BudgetShare(budgets.replay), self.round_trip)
        self.streams: dict[int, StreamCore] = {}
        # attachment
        self.attachment = Attachment.DETACHED
        self.is_established = False
        self._is_closing = False
        self.is_held = False
        """Whether what went out on the attachment before is still waited for."""
        self._joined_at = 0
        """What the peer had received when it attached last, by its own word."""
        self._must_have = 0
        """What its first acknowledgement on this attachment must not be below; 0: checked."""
        self.outlet: Outlet | None = None
        self.number = 0
        self.generation = 0
        self.peer_generation = 0
        # numbers, copies, and what waits
        self._next_sequence = 1
        self._acknowledged = 0
        self._kept: deque[_Kept] = deque()
        self._control: deque[tuple[int, int, bytes]] = deque()
        self._replay_next = 0
        self._replay_unacked = 0
        self._path_cap = 0
        self._cap = 0
        self._data_limit = 0
        self._round_is_over = False
        self.unacknowledged = 0
        self.waiting: deque[StreamCore] = deque()
        self.fresh: deque[StreamCore] = deque()
        self._turn: StreamCore | None = None
        self._was_fresh = False
        # what the peer is to be told
        self.received = 0
        self._unacked_in = 0
        self._threshold = 0
        self._ack_pending = False
        self.ack_due = False
        self._dirty_windows: list[StreamCore] = []
        self._answered: list[StreamCore] = []
        # counters, read when somebody asks
        self.bytes_out = 0
        self.replay_bytes = 0
        """What the last attachment had to send again; may still be under way."""
        self.replayed_bytes = 0
        self.last_reset: tuple[int, str, bool] | None = None
        """Code and text of the last stream that was reset, and whether the peer did it."""
        self.limit(window_bytes)

    def all_acknowledged(self) -> None:
        """The peer has received everything that was sent; `SessionCore` tells the owner."""

    # --- attachment -------------------------------------------------------------------------

    def take_generation(self) -> int:
        """Count an attempt to attach; return its generation."""
        self.generation += 1
        return self.generation

    def attach(self, outlet: Outlet, number: int, *, is_counted: bool = False) -> None:
        """Begin to attach over *outlet* under a link-local *number*; replaces an earlier one.

        Args:
            is_counted: whether the attempt has its generation already (`take_generation`).
        """
        self._move(Input.ATTACH)
        self.outlet = outlet
        self.number = number
        if not is_counted:
            self.take_generation()

    def attached(self, generation: int, received: int, cap: int) -> None:
        """The peer is there: it is at *generation* and has received up to number *received*.

        Raises:
            SessionError: the numbers are impossible (code STATE_LOST): the session is to end.
        """
        self.check_peer(generation, received)
        self._move(Input.GOT_ATTACHED)
        self._join(generation, received, cap)

    def moved(
        self, outlet: Outlet, number: int, generation: int, received: int, cap: int, *, hold: bool
    ) -> None:
        """The peer is there on another attachment too; from now on this one is used.

        `check_peer` has found the numbers possible.

        Args:
            hold: wait with new frames until what went out on the earlier attachment has arrived
                there; `release` ends the wait by a replay.
        """
        self._move(Input.MOVE)
        self.outlet = outlet
        self.number = number
        self.is_held = hold
        self._join(generation, received, cap)

    def _join(self, generation: int, received: int, cap: int) -> None:
        self.peer_generation = generation
        self.limit(cap)
        # The peer acknowledges anew at once: then it shows whether it still has what it had.
        self._must_have = self._acknowledged if received < self._acknowledged else 0
        self._forget_acknowledged(received)
        self.window.restart(self._next_sequence)
        self._round_is_over = False
        self._joined_at = received
        self._replay_next = self._acknowledged + 1
        self._replay_unacked = 0
        self.replay_bytes = self.unacknowledged - len(self._kept) * _OVERHEAD
        self.ack_due = True
        if self.outlet is not None:
            self.outlet.want_state(self)
        self.resume()

    def release(self) -> None:
        """Wait no longer for what went out on the earlier attachment: send it again here."""
        self.is_held = False
        self.resume()

    def check_peer(self, generation: int, received: int) -> None:
        """Raise SessionError if the peer cannot rightly be at these numbers.

        What it says may be older than its last acknowledgements, because a session goes on while
        it moves; it cannot be older than the attachment before.
        """
        if generation <= self.peer_generation:
            raise SessionError(
                ErrorCode.STALE_GENERATION,
                f"attach with generation {generation} after {self.peer_generation}",
            )
        if not self._joined_at <= received < self._next_sequence:
            raise SessionError(
                ErrorCode.STATE_LOST,
                f"the peer says it received up to {received}, "
                f"possible is {self._joined_at} to {self._next_sequence - 1}",
            )

    def detached(self, why: Input = Input.LINK_LOST) -> None:
        """The attachment is gone: by `<detached>` or with its link."""
        self._move(why)
        self.outlet = None
        self.number = 0
        self.is_held = False

    def limit(self, cap: int) -> None:
        """Take the smallest cap of the path, bytes."""
        self._path_cap = cap
        self._resize()

    def _resize(self) -> None:
        """The window or the path's cap has changed."""
        self._cap = min(self.window.size, self._path_cap)
        self._data_limit = max(0, self._cap - _OVERHEAD - min(_LEAST_DATA, self._cap // 4))
        # The peer's window may be smaller than ours: it is not to wait for more than it may send.
        usual = min(self._cap, limits.DEFAULT_SESSION_WINDOW_BYTES)
        self._threshold = usual // limits.ACK_WINDOW_FRACTION

    @property
    def acknowledged(self) -> int:
        """The number up to which the peer has received everything."""
        return self._acknowledged

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

    def send_data(self, stream_id: int, data: Buffer, most: int) -> int:
        """Number and write up to *most* bytes of *data*; return how many."""
        outlet = self.outlet
        taken = 0
        room = self._cap - self.unacknowledged - _OVERHEAD
        if most <= _LEAST_DATA and most == len(data) and most <= room and self.can_send_data:
            # The short way, which most go: what `_write` does for a small payload.
            assert outlet is not None  # `can_send_data` says so
            sequence = self._next_sequence
            frame = _PACK(_DATA, 0, 0, self.number, stream_id, most, sequence) + data
            self._next_sequence = sequence + 1
            self._kept.append((most + _OVERHEAD, frame, None))
            self.unacknowledged += most + _OVERHEAD
            outlet.write(frame)
            self.bytes_out += most
            return most
        while taken < most and outlet is not None and self.can_send_data:
            turn = outlet.frame_bytes
            if self.waiting or self.fresh:
                if taken >= turn:
                    break  # its turn is over
                turn = min(turn, limits.SHARED_FRAME_BYTES)
            size = min(most - taken, turn, self._cap - self.unacknowledged - _OVERHEAD)
            if size == len(data):
                self._write(_DATA, stream_id, data)
            else:
                self._write(_DATA, stream_id, memoryview(data)[taken : taken + size])
            taken += size
        self.bytes_out += taken
        return taken

    def send_control(self, frame_type: int, stream_id: int, payload: bytes = b"") -> None:
        """Send a sequenced control frame now, or as soon as it can go."""
        if self.attachment is _ENDED or self._is_closing:
            return
        # Nothing may follow a session-close: the peer would not acknowledge it.
        self._is_closing = frame_type == FrameType.SESSION_CLOSE
        if self._control or not self._may_control(frame_type):
            self._control.append((frame_type, stream_id, payload))
        else:
            self._write(frame_type, stream_id, payload)

    def resume(self) -> None:
        """Send what can be sent: replay, control, then streams in turn."""
        if self.outlet is None or self.attachment is not Attachment.ATTACHED:
            return
        if self._replay_next and not self._replay():
            return
        control = self._control
        while control and self._may_control(control[0][0]):
            self._write(*control.popleft())
        while (self.waiting or self.fresh) and self.can_send_data:
            self._was_fresh = bool(self.fresh) and not (self._was_fresh and self.waiting)
            stream = (self.fresh if self._was_fresh else self.waiting).popleft()
            stream.is_blocked = False
            if stream.outgoing is Half.OPEN:
                self._turn = stream
                stream.sink.resume()
                self._turn = None

    def wait(self, stream: StreamCore) -> None:
        """Have *stream* resumed when it is its turn."""
        (self.waiting if stream is self._turn else self.fresh).append(stream)

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
            and self.attachment is _ATTACHED
        )

    def _may_control(self, frame_type: int) -> bool:
        return (
            self.outlet is not None
            and self.outlet.is_clear
            and self.attachment is _ATTACHED
            and not self._replay_next
            and self.unacknowledged < self._cap + limits.CONTROL_RESERVE_BYTES
            and (self.is_established or frame_type == FrameType.SESSION_OPEN)
        )

    def _write(self, frame_type: int, stream_id: int, payload: Buffer) -> None:
        """Give the frame its number, keep it, and write it."""
        size = len(payload)
        optional = frame_type >= _OPTIONAL
        first = _PACK(frame_type, optional, 0, self.number, stream_id, size, self._next_sequence)
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
            if self.is_held or not outlet.is_clear or self._replay_unacked >= self._cap:
                return False
            cost, first, second = self._kept[self._replay_next - self._acknowledged - 1]
            outlet.write(first[:4] + number + first[8:], second)
            self.replayed_bytes += cost - _OVERHEAD
            self._replay_unacked += cost
            self._replay_next += 1
        self._replay_next = 0
        self.is_held = False
        for stream in self.streams.values():
            if stream.window.granted > limits.INITIAL_STREAM_WINDOW_BYTES:
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

    def note_answer(self, stream: StreamCore) -> None:
        """Bytes arrived that end a measurement of the round trip."""
        self._answered.append(stream)
        if self.outlet is not None:
            self.outlet.want_state(self)

    def write_state(self, now: float) -> None:
        """Write pending `ack` and `window` frames; the outlet calls it before a flush."""
        for stream in self._answered:
            stream.window.answered(now, self.round_trip)
        self._answered.clear()
        if self.attachment is not Attachment.ATTACHED or self.outlet is None:
            return
        if self._round_is_over:
            self._end_round(now)
        if self.ack_due:
            self._write_ack(self.outlet)
        if self._dirty_windows and not self._replay_next:
            dirty, self._dirty_windows = self._dirty_windows, []
            for stream in dirty:
                stream.window_dirty = False
                if stream.incoming is Half.OPEN:
                    self._write_window(self.outlet, stream, now)

    def _end_round(self, now: float) -> None:
        self._round_is_over = False
        window, before = self.window, self.window.size
        if window.end_round(now, self.unacknowledged, self._path_cap):
            self._resize()
            self.resume()
        elif window.size != before:
            self._resize()

    def _write_ack(self, outlet: Outlet) -> None:
        self.ack_due = self._ack_pending = False
        self._unacked_in = 0
        payload = _U64.pack(self.received)
        outlet.write(_PACK(FrameType.ACK, 0, 0, self.number, 0, 8, 0) + payload)

    def _write_window(self, outlet: Outlet, stream: StreamCore, now: float) -> None:
        credit = stream.window.update(now, self.budget, self.round_trip.seconds)
        payload = _U64.pack(credit)
        outlet.write(_PACK(FrameType.WINDOW, 0, 0, self.number, stream.stream_id, 8, 0) + payload)

    def _forget_acknowledged(self, received: int) -> None:
        kept, before = self._kept, self.unacknowledged
        while self._acknowledged < received:
            cost = kept.popleft()[0]
            self.unacknowledged -= cost
            self._acknowledged += 1
            if self._acknowledged < self._replay_next:
                self._replay_unacked -= cost
        if self._replay_next and self._replay_next <= self._acknowledged:
            self._replay_next = self._acknowledged + 1
        self.window.acknowledged_bytes += before - self.unacknowledged
        if received >= self.window.ends_with and not self._round_is_over:
            # The next round begins with the frame that is numbered next, most likely at once.
            self._round_is_over, self.window.ends_with = True, self._next_sequence
            if self.outlet is not None:
                self.outlet.want_state(self)
        if not kept and not self._control:
            self.all_acknowledged()
