"""One stream of a session: its states, its credit, and bytes not yet consumed (no I/O).

How it works.  A stream core stands between the session (which numbers frames) and a *sink*,
the object that uses the stream: a spliced socket, or the `Stream` that a Trio program holds.
Both are *ends*: things that bytes can be offered to and that push what they have into another
end.  Calls go in a straight line and never wait:

* towards the peer: the sink calls `offer`, `finish`, `abort` or `stop`.  `offer` numbers as much
  as credit, session window and link allow right now and says how much that was; nothing that is
  not numbered is kept.  When more can go, the session calls `sink.resume`.
* from the peer: `receive_data` offers the payload to the sink.  What the sink does not take is
  copied into the inbox, which the stream's own credit bounds; the sink calls `resume` when it
  can take more.  Credit is returned for what the sink took.

The states are those of the tables in `states`.  A stream is forgotten as soon as both of its
directions are over; because every frame that ends a direction is sequenced and answered, no
late frame can follow, and nothing needs to be remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from tunnelkit.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

from .frames import FrameType, ResetDirection, encode_fields
from .states import INCOMING, OUTGOING, PHASE, Half, Input, Phase
from .windows import ReceiveWindow

if TYPE_CHECKING:
    from .session import SessionCore

__all__ = ["Buffer", "End", "NullEnd", "StreamCore"]

Buffer: TypeAlias = bytes | bytearray | memoryview

# Looked up once, for the paths that every frame takes: a member of an enum costs two look-ups.
_OPEN: Final = Half.OPEN
_OPENING: Final = Phase.OPENING
_OFFERED: Final = Phase.OFFERED
_OVER: Final = (Half.ENDED, Half.RESET)


class End(Protocol):
    """Something that bytes can be offered to, and that pushes bytes into another end.

    No method waits.  A buffer given to `offer` is valid only during the call.
    """

    def offer(self, data: Buffer) -> int:
        """Take some of *data*; return how many bytes.  Less than all means: `resume` follows."""

    def finish(self) -> None:
        """No more bytes will be offered, and none is missing."""

    def abort(self, code: int, text: str) -> None:
        """No more bytes will be offered, and some may be missing."""

    def stop(self, code: int, text: str) -> None:
        """The other end takes no more bytes: stop pushing."""

    def reset(self, code: int, text: str) -> None:
        """Both directions are broken: `abort` and `stop` at once."""

    def resume(self) -> None:
        """The other end can take bytes again: push what is there."""


class NullEnd:
    """An end that takes nothing and pushes nothing: the sink before there is one."""

    __slots__ = ()

    def offer(self, data: Buffer) -> int:
        return 0

    def finish(self) -> None:
        pass

    def abort(self, code: int, text: str) -> None:
        pass

    def stop(self, code: int, text: str) -> None:
        pass

    def reset(self, code: int, text: str) -> None:
        pass

    def resume(self) -> None:
        pass


NULL_END: Final = NullEnd()


class StreamCore:
    """One stream; made by `SessionCore.open_stream` or by an `open` of the peer."""

    __slots__ = (
        "answer_code",
        "answer_text",
        "credit",
        "inbox",
        "incoming",
        "incoming_error",
        "is_answering",
        "is_blocked",
        "metadata",
        "on_answer",
        "outgoing",
        "phase",
        "sent",
        "session",
        "sink",
        "stream_id",
        "target",
        "window",
        "window_dirty",
    )

    def __init__(
        self,
        session: SessionCore,
        stream_id: int,
        phase: Phase,
        target: str,
        metadata: tuple[tuple[int, bytes], ...],
    ) -> None:
        self.session = session
        self.stream_id = stream_id
        self.phase = phase
        self.target = target
        self.metadata = metadata
        self.outgoing = Half.OPEN
        self.incoming = Half.OPEN
        self.sent = 0
        self.window = ReceiveWindow(session.max_stream_window_bytes)
        self.credit = self.window.granted
        self.window_dirty = False
        self.inbox = bytearray()
        self.sink: End = NULL_END
        self.is_blocked = False
        self.is_answering = False
        self.incoming_error: tuple[int, str] | None = None
        self.on_answer: Callable[[StreamCore], None] | None = None
        self.answer_code = 0
        self.answer_text = ""

    @property
    def is_over(self) -> bool:
        """Whether both directions are over."""
        return self.outgoing in _OVER and self.incoming in _OVER

    # --- towards the peer -------------------------------------------------------------------

    def offer(self, data: Buffer) -> int:
        """Send as much of *data* as may be sent now; return how many bytes.

        When that is not all, `sink.resume` is called once more can go.  Returns 0 for a
        direction that is over.
        """
        if self.outgoing is not _OPEN:
            return 0
        size = len(data)
        room = self.credit - self.sent
        if self.phase is _OFFERED:
            raise LocalProtocolError("a stream must be accepted before it is written to")
        taken = self.session.send_data(self.stream_id, data, size if size <= room else room)
        self.sent += taken
        if taken < size:
            if taken < room and not self.is_blocked:
                self.is_blocked = True
                self.session.wait(self)
            elif taken == room:
                self.is_blocked = True
        return taken

    def poll_writable(self) -> bool:
        """Say whether `offer` would take anything; if not, `sink.resume` follows when it would."""
        if self.outgoing is not Half.OPEN:
            return True
        has_credit = self.credit > self.sent
        if has_credit and self.session.can_send_data:
            return True
        if not self.is_blocked:
            self.is_blocked = True
            if has_credit:
                self.session.wait(self)
        return False

    def finish(self) -> None:
        """Send the end of this direction; a no-op where it is over already."""
        if self.phase is Phase.OFFERED:
            raise LocalProtocolError("a stream must be accepted before it is ended")
        if self.outgoing is Half.OPEN:
            self.outgoing = OUTGOING[self.outgoing, Input.SEND_END]
            self.session.send_control(FrameType.END, self.stream_id)
            self._forget_if_over()

    def abort(self, code: int, text: str = "") -> None:
        """Reset the direction towards the peer; the other one stays as it is."""
        if (self.outgoing, Input.SEND_RESET) in OUTGOING:
            self.outgoing = OUTGOING[self.outgoing, Input.SEND_RESET]
            self._send_reset(ResetDirection.SENDING, code, text)

    def stop(self, code: int, text: str = "") -> None:
        """Tell the peer that nobody reads this stream any more."""
        if self.incoming is Half.OPEN:
            self._discard(Input.SEND_STOP)
            self.session.send_control(
                FrameType.STOP, self.stream_id, encode_fields(FrameType.STOP, code=code)
            )
        elif self.incoming in _OVER:
            self._drop_inbox()

    def reset(self, code: int, text: str = "") -> None:
        """End both directions at once."""
        direction = 0
        if (self.outgoing, Input.SEND_RESET) in OUTGOING:
            self.outgoing = OUTGOING[self.outgoing, Input.SEND_RESET]
            direction |= ResetDirection.SENDING
        if self.incoming is Half.OPEN:
            self._discard(Input.SEND_STOP)
            direction |= ResetDirection.RECEIVING
        elif self.incoming in _OVER:
            self._drop_inbox()
        if direction:
            self._send_reset(direction, code, text)

    def accept(self) -> bool:
        """Answer the peer's `open` with `opened`; return False if the peer has left already."""
        if self.is_over:
            return False
        self._move(Input.SEND_OPENED)
        self.session.unaccepted -= 1
        self.session.send_control(FrameType.OPENED, self.stream_id)
        return True

    def refuse(self, code: int, text: str) -> None:
        """Answer the peer's `open` with `refused`; a no-op if the peer has left already."""
        if self.is_over:
            return
        self._move(Input.SEND_REFUSED)
        self.session.unaccepted -= 1
        payload = encode_fields(FrameType.REFUSED, code=code, text=text[:200])
        self.session.send_control(FrameType.REFUSED, self.stream_id, payload)
        self.outgoing = Half.RESET
        if self.incoming is Half.OPEN:
            self._discard(Input.SEND_STOP)
        self._forget_if_over()

    def _send_reset(self, direction: int, code: int, text: str) -> None:
        if not self.is_answering:
            self.session.last_reset = (code, text, False)
        payload = encode_fields(FrameType.RESET, direction=direction, code=code, text=text[:200])
        self.session.send_control(FrameType.RESET, self.stream_id, payload)
        self._forget_if_over()

    # --- from the peer ----------------------------------------------------------------------

    def receive_data(self, payload: memoryview) -> None:
        """Pass data on to the sink, or keep it within the credit."""
        size = len(payload)
        window = self.window
        if window.arrive(size):
            self.session.note_answer(self)
        if self.incoming is not _OPEN or self.phase is _OPENING:
            self._receive_unwanted(size)
        elif self.inbox:
            self.inbox += payload
        else:
            taken = self.sink.offer(payload)
            if taken and window.consume(taken) and not self.window_dirty:
                self.session.announce_window(self)
            if taken < size and self.incoming is _OPEN:
                self.inbox += payload[taken:]

    def _receive_unwanted(self, size: int) -> None:
        if self.phase is Phase.OPENING or (self.incoming, Input.GOT_DATA) not in INCOMING:
            raise RemoteProtocolError(f"data on a stream that is {self._describe()}")
        self.window.consume(size)

    def resume(self) -> None:
        """Push what the inbox holds into the sink; then the ending, if it has arrived."""
        while self.inbox:
            inbox = self.inbox
            with memoryview(inbox) as view:
                taken = self.sink.offer(view)
            if not taken or self.inbox is not inbox:
                return  # it takes no more now, or stopped reading in the middle of it
            del inbox[:taken]
            self.consumed(taken)
        if self.incoming is Half.ENDED:
            self.sink.finish()
        elif self.incoming_error is not None:
            self.sink.abort(*self.incoming_error)

    def take(self, max_bytes: int) -> bytes:
        """Take up to *max_bytes* out of the inbox."""
        inbox = self.inbox
        if len(inbox) <= max_bytes:
            data = bytes(inbox)
            inbox.clear()
        else:
            with memoryview(inbox) as view:
                data = bytes(view[:max_bytes])
            del inbox[:max_bytes]
        if data:
            self.consumed(len(data))
        return data

    def consumed(self, count: int) -> None:
        """Return credit for *count* bytes that the sink took later than they arrived."""
        if self.incoming is not Half.OPEN:
            self.window.consume(count)
            self.release_window()
        elif self.window.consume(count) and not self.window_dirty:
            self.session.announce_window(self)

    def receive_credit(self, credit: int) -> None:
        """Take an absolute credit; a lower one than before changes nothing."""
        if credit > self.credit:
            blocked = self.is_blocked and self.sent >= self.credit
            self.credit = credit
            if blocked:
                self.session.waiting.append(self)  # it sent all that it might: not a small one

    def receive_end(self) -> None:
        """The peer finished its direction."""
        if self.phase is Phase.OPENING:
            raise RemoteProtocolError("end before opened")
        was_open = self.incoming is Half.OPEN
        self.incoming = self._next(INCOMING, self.incoming, Input.GOT_END)
        self.release_window()
        if was_open and not self.inbox:
            self.sink.finish()
        self._forget_if_over()

    def receive_stop(self, code: int, text: str = "") -> None:
        """The peer no longer reads: answer with a reset of what we write."""
        before = self.outgoing
        self.outgoing = self._next(OUTGOING, before, Input.GOT_STOP)
        if before is Half.OPEN:
            self.is_answering = True
            self.abort(code, text)
            self.is_answering = False
            self.sink.stop(code, text)

    def receive_reset(self, direction: int, code: int, text: str) -> None:
        """The peer ended one direction or both, perhaps with bytes missing."""
        if not ResetDirection.SENDING <= direction <= ResetDirection.BOTH:
            raise RemoteProtocolError("reset without a direction")
        self.session.last_reset = (code, text, True)
        if direction & ResetDirection.SENDING:
            was_open = self.incoming is Half.OPEN
            self.incoming = self._next(INCOMING, self.incoming, Input.GOT_RESET)
            self.release_window()
            if was_open:
                self.incoming_error = (code, text)
        if direction & ResetDirection.RECEIVING:
            self.receive_stop(code, text)
        if direction & ResetDirection.SENDING and self.incoming_error is not None:
            self.resume()
        self._forget_if_over()

    def receive_opened(self) -> None:
        """The far side connected to its target."""
        self._move_by_peer(Input.GOT_OPENED)
        self._answer(ErrorCode.NONE, "")

    def receive_refused(self, code: int, text: str) -> None:
        """The far side would not open the stream."""
        self._move_by_peer(Input.GOT_REFUSED)
        code = code or ErrorCode.INTERNAL_ERROR  # none would read as opened
        was = self.outgoing, self.incoming
        if was[1] is Half.OPEN:
            self.incoming_error = (code, text)
        self.incoming = Half.RESET
        self.abort(code)
        self._answer(code, text)
        # Who sent data together with the open has a sink already.
        if was[1] is Half.OPEN:
            self.sink.abort(code, text)
        if was[0] is Half.OPEN:
            self.sink.stop(code, text)
        self._forget_if_over()

    def session_ended(self, code: int, text: str) -> None:
        """The session is gone: both directions end as if reset by the peer."""
        code = code or ErrorCode.SESSION_CLOSED  # none would read as opened
        if self.incoming is Half.OPEN:
            self.incoming_error = (code, text)
        was = self.outgoing, self.incoming
        self.outgoing = Half.RESET if was[0] not in _OVER else was[0]
        self.incoming = Half.RESET if was[1] not in _OVER else was[1]
        if self.phase is Phase.OPENING:
            self.phase = Phase.REFUSED
            self._answer(code, text)
        if was[1] is Half.OPEN:
            self.resume()
        if was[0] is Half.OPEN:
            self.sink.stop(code, text)

    # --- helpers ----------------------------------------------------------------------------

    def _answer(self, code: int, text: str) -> None:
        self.answer_code, self.answer_text = code, text
        answer, self.on_answer = self.on_answer, None
        if answer is not None:
            answer(self)

    def _discard(self, why: Input) -> None:
        self.incoming = INCOMING[self.incoming, why]
        self._drop_inbox()

    def _drop_inbox(self) -> None:
        self.inbox = bytearray()  # not cleared: the sink may be looking at it
        self.release_window()

    def release_window(self) -> None:
        """Hold the budget only for what is still unread: no more will come."""
        if self.window.charged:
            self.window.close(self.session.budget, len(self.inbox))

    def _move(self, what: Input) -> None:
        if (self.phase, what) not in PHASE:
            raise LocalProtocolError(f"{what.value} on a stream that is {self._describe()}")
        self.phase = PHASE[self.phase, what]

    def _move_by_peer(self, what: Input) -> None:
        if (self.phase, what) not in PHASE:
            raise RemoteProtocolError(f"{what.value} on a stream that is {self._describe()}")
        self.phase = PHASE[self.phase, what]

    def _next(self, table: Mapping[tuple[Half, Input], Half], half: Half, what: Input) -> Half:
        after = table.get((half, what))
        if after is None:
            raise RemoteProtocolError(f"{what.value} on a stream that is {self._describe()}")
        return after

    def _describe(self) -> str:
        return f"{self.phase.value} (out {self.outgoing.value}, in {self.incoming.value})"

    def _forget_if_over(self) -> None:
        if self.outgoing not in _OVER or self.incoming not in _OVER:
            return
        self.session.forget(self)
        if self.phase is Phase.OPENING:
            self.phase = Phase.REFUSED
            code, text = self.incoming_error or (ErrorCode.CANCELLED, "")
            self._answer(code, text)
