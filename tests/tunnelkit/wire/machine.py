"""Two session cores, links that break between them, and a record of what each stream saw.

How it works.  A `World` holds two endpoints and the network between them: either one link
(`DirectNet`), or two links that meet in a broker (`BrokerNet`).  Each direction of a link is a
`Wire`: whole frames go in, and bytes come out in any pieces, until the link is lost with what is
still on it.  Attach frames travel on the same wires as everything else, so a cut can hit them.

Every stream ends in a `Tap` on either side.  A tap writes what the test gives it, takes what its
appetite allows, and compares each byte that arrives with what the tap at the other end wrote.  It
fails the test at once when a byte is wrong, or when an ending looks cleaner than it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from tunnelkit import limits
from tunnelkit.errors import ErrorCode
from tunnelkit.wire.frames import (
    HEADER,
    SESSION_FIELD,
    FrameType,
    Role,
    Value,
    decode_fields,
    encode_fields,
    encode_frame,
)
from tunnelkit.wire.reader import Deliver, FrameReader, Scratch
from tunnelkit.wire.sending import Sender
from tunnelkit.wire.session import SessionCore
from tunnelkit.wire.states import Attachment, Input, Phase
from tunnelkit.wire.stream import Buffer, StreamCore

__all__ = ["PLENTY", "BrokerNet", "DirectNet", "Endpoint", "Tap", "Wire", "World"]

PLENTY: Final = 1 << 40
"""More bytes than any example moves."""

# Shared by all wires on purpose: who keeps a payload beyond its call sees it overwritten.
_SCRATCH: Final = Scratch(limits.SCRATCH_BYTES)


class Wire:
    """One direction of one link."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._frames: deque[bytes] = deque()
        self._begun = 0
        self._reader = FrameReader(_SCRATCH)
        self._reader.max_payload_bytes = limits.MAX_PAYLOAD_BYTES
        self.is_lost = False

    @property
    def size(self) -> int:
        """Bytes that were written and have not arrived."""
        return sum(map(len, self._frames)) - self._begun

    def put(self, frame: bytes) -> None:
        if not self.is_lost:
            self._frames.append(frame)

    def run(self, count: int) -> None:
        """Let the next *count* bytes arrive."""
        pieces = []
        while count > 0 and self._frames:
            piece = self._frames[0][self._begun : self._begun + count]
            pieces.append(piece)
            count -= len(piece)
            self._begun += len(piece)
            if self._begun == len(self._frames[0]):
                self._frames.popleft()
                self._begun = 0
        self._reader.feed(b"".join(pieces), self._deliver)

    def purge(self) -> None:
        """Drop the frames that are not begun; one that is begun must be finished."""
        while len(self._frames) > (1 if self._begun else 0):
            self._frames.pop()

    def lose(self) -> None:
        self.is_lost = True
        self._frames.clear()
        self._begun = 0


class Outlet:
    """An endpoint's side of a link; it is clear until *room* bytes were written."""

    def __init__(self, end: Endpoint, wire: Wire) -> None:
        self.end = end
        self.wire = wire
        self.room = PLENTY
        self.frame_bytes: int = limits.BULK_FRAME_BYTES
        self.wants_state = False

    @property
    def is_clear(self) -> bool:
        return self.room > 0

    def write(self, first: Buffer, second: Buffer | None = None) -> None:
        frame = bytes(first) + bytes(second or b"")
        self.room -= len(frame)
        if frame[0] == FrameType.ACK:
            self.end.reported = int.from_bytes(frame[-8:], "big")
        self.wire.put(frame)

    def want_state(self, session: Sender) -> None:
        self.wants_state = True


class Tap:
    """One side of a stream: writes, takes, compares.

    Attributes:
        appetite: bytes that it takes before it stalls.
        quits: "stop" or "reset": what it does in the middle of the next offer.
        came: how the incoming direction ended: "", "finish" or "abort".
        went: how the outgoing direction ended: "", "finish", "abort" or "stopped".
        left: whether it stopped reading of its own will.
    """

    def __init__(self, end: Endpoint, stream: StreamCore) -> None:
        self.end = end
        self.stream = stream
        self.written = bytearray()
        self.pending = bytearray()
        self.got = 0
        self.appetite = PLENTY
        self.quits = ""
        self.came = ""
        self.went = ""
        self.left = False
        self.wants_finish = False
        self.is_refused = False
        self.is_opener = False
        self.answers = 0
        stream.sink = self

    @property
    def other(self) -> Tap:
        """The tap at the far side."""
        return self.end.peer.taps[self.stream.stream_id]

    # --- called by the stream ---------------------------------------------------------------

    def offer(self, data: Buffer) -> int:
        assert not self.left, "bytes after the reader left"
        assert self.came != "finish", "bytes after the end"
        count = min(len(data), self.appetite)
        expected = self.other.written[self.got : self.got + count]
        assert bytes(memoryview(data)[:count]) == expected, f"wrong bytes after {self.got}"
        self.got += count
        self.appetite -= count
        if self.quits:
            self.leave(self.quits)
        return count

    def finish(self) -> None:
        assert not self.left, "finish after the reader left"
        assert not self.came, f"finish after {self.came}"
        assert self.other.went == "finish", "a clean end that the writer did not make"
        assert self.got == len(self.other.written), "a clean end with bytes missing"
        self.came = "finish"

    def abort(self, code: int, text: str) -> None:
        assert not self.left, "abort after the reader left"
        assert not self.came or self.is_refused, f"abort after {self.came}"
        self.came = "abort"

    def stop(self, code: int, text: str) -> None:
        assert self.went != "stopped" or self.is_refused, "told twice to stop"
        self.went = self.went or "stopped"
        self.pending.clear()

    def reset(self, code: int, text: str) -> None:
        self.abort(code, text)
        self.stop(code, text)

    def resume(self) -> None:
        """Push what is pending; finish behind it if that was asked for."""
        if self.went or self.stream.phase is Phase.OFFERED:
            return
        if self.pending:
            # A view of a buffer that changes right afterwards: it must not be kept.
            with memoryview(self.pending) as view:
                count = self.stream.offer(view)
            self.written += self.pending[:count]
            del self.pending[:count]
        if self.wants_finish and not self.pending:
            self.went = "finish"
            self.stream.finish()

    # --- called by the test -----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self.went or self.wants_finish:
            return
        count = 0
        if not self.pending and self.stream.phase is not Phase.OFFERED:
            count = self.stream.offer(data)
        self.written += data[:count]
        self.pending += data[count:]

    def write_if_asked(self, data: bytes) -> None:
        """Write as a program does that asks first whether anything would be taken."""
        if self.went or self.wants_finish or self.pending or self.stream.phase is Phase.OFFERED:
            return
        if self.stream.poll_writable():
            before = len(self.written)
            self.write(data)
            assert len(self.written) > before, "writable, and yet nothing was taken"

    def end_writing(self) -> None:
        self.wants_finish = True
        self.resume()

    def abort_writing(self) -> None:
        self.went = self.went or "abort"
        self.pending.clear()
        self.stream.abort(ErrorCode.NONE, "aborted")

    def leave(self, how: str) -> None:
        """Stop reading; with "reset" stop writing as well."""
        self.quits = ""
        self.left = self.left or not self.came
        if how == "stop":
            self.stream.stop(ErrorCode.NONE, "stopped")
            return
        self.went = self.went or "abort"
        self.pending.clear()
        self.stream.reset(ErrorCode.NONE, "reset")

    def feed(self, count: int) -> None:
        """Have *count* bytes more appetite."""
        self.appetite = min(self.appetite + count, PLENTY)
        if not self.left and self.stream.inbox:
            self.stream.resume()

    def answered(self, stream: StreamCore) -> None:
        self.answers += 1
        if stream.phase is Phase.REFUSED:
            self.is_refused = True
            self.came = self.came or ("" if self.left else "abort")
            self.went = self.went or "stopped"
            self.pending.clear()


class Endpoint:
    """The owner of one session core, and the frames that are not the core's own."""

    peer: Endpoint

    def __init__(self, role: Role, **sizes: Any) -> None:
        self.core = SessionCore(self, role, **sizes)
        self.core.send_session_open(bytes(32), b"token", bytes(64))
        self.taps: dict[int, Tap] = {}
        self.offered: list[Tap] = []
        self.timer = False
        self.reported = 0
        self.is_stale = False
        self.is_closing = False
        self.cap = limits.DEFAULT_SESSION_WINDOW_BYTES
        self.highest_cap = 0
        self.left: tuple[Outlet, int] | None = None
        """The attachment before, as long as it may still deliver."""
        self._last_number = 1000 * role

    @property
    def is_over(self) -> bool:
        return self.core.attachment is Attachment.ENDED

    # --- called by the core -----------------------------------------------------------------

    def peer_named_addresses(self, text: str) -> None:
        pass

    def peer_renewed(self, values: Mapping[str, Value]) -> None:
        pass

    def peer_opened(self, values: Mapping[str, Value]) -> None:
        self.core.establish()

    def stream_offered(self, stream: StreamCore) -> None:
        tap = self.taps[stream.stream_id] = Tap(self, stream)
        self.offered.append(tap)

    def ack_wanted(self) -> None:
        self.timer = True

    def session_over(self, code: int, text: str) -> None:
        assert not self.core.streams, "over before the streams were told"

    def all_acknowledged(self) -> None:
        if self.is_closing:
            self.core.end(ErrorCode.NONE, "closed")

    # --- called by the test -----------------------------------------------------------------

    def open_stream(self) -> Tap:
        stream = self.core.open_stream("target")
        tap = self.taps[stream.stream_id] = Tap(self, stream)
        tap.is_opener = True
        stream.on_answer = tap.answered
        return tap

    def answer(self, tap: Tap, *, accept: bool) -> None:
        self.offered.remove(tap)
        if accept:
            tap.stream.accept()
            tap.resume()
        else:
            tap.left = tap.left or not tap.came
            tap.went = tap.went or "abort"
            tap.pending.clear()
            tap.stream.refuse(ErrorCode.NONE, "refused")

    def close(self) -> None:
        self.is_closing = True
        self.core.send_close(ErrorCode.NONE, "closed")

    def fire_timer(self) -> None:
        if self.timer:
            self.timer = False
            self.core.ack_now()

    def lose_link(self) -> None:
        if not self.is_over and self.core.attachment is not Attachment.DETACHED:
            self.core.detached(Input.LINK_LOST)

    def attach(self, outlet: Outlet) -> None:
        """Begin to attach over *outlet*, as the side that asks."""
        if not self.is_over:
            self._last_number += 1
            self.core.attach(outlet, self._last_number)
            place = encode_fields(
                FrameType.ATTACH,
                session_id=bytes(16),
                role=int(self.core.role),
                peer="",
                proof_kind=0,
                proof=b"",
                generation=self.core.generation,
                received=self.report(),
            )
            outlet.wire.put(encode_frame(FrameType.ATTACH, place, session=self._last_number))

    def move(
        self, outlet: Outlet, number: int, generation: int, received: int, *, hold: bool
    ) -> None:
        """Go on over *outlet*, where the peer is as well."""
        core = self.core
        core.check_peer(generation, received)
        assert isinstance(core.outlet, Outlet)
        self.left = core.outlet, core.number
        self.highest_cap = max(self.highest_cap, self.cap)
        core.moved(outlet, number, generation, received, self.cap, hold=hold)

    def leave(self) -> None:
        """Wait no longer for what went out before the last move."""
        self.left = None
        if self.core.is_held:
            self.core.release()

    def report(self) -> int:
        """Say how far this side has received; a stale side says what it said before.

        An older number is allowed: it costs the peer a longer replay, and nothing else.
        """
        if not self.is_stale:
            self.reported = self.core.received
        return self.reported

    # --- called by the wires ----------------------------------------------------------------

    def receive(
        self,
        outlet: Outlet,
        kind: int,
        flags: int,
        session: int,
        stream: int,
        sequence: int,
        payload: memoryview,
    ) -> None:
        """Take one frame from the link whose other direction is *outlet*."""
        if kind == FrameType.ATTACH:
            self._answer_attach(outlet, session, _fields(kind, payload))
        elif self.left == (outlet, session):
            if kind >= FrameType.SESSION_OPEN:
                self.core.receive(kind, flags, stream, sequence, payload)
        elif self.core.outlet is not outlet or self.core.number != session:
            pass  # the rest of an attachment that was replaced
        elif kind == FrameType.ATTACHED:
            fields = _fields(kind, payload)
            self._attached(fields["generation"], fields["received"], fields["cap"])
        elif kind == FrameType.DETACHED:
            self._detached(_fields(kind, payload)["code"])
        else:
            self.core.receive(kind, flags, stream, sequence, payload)

    def _answer_attach(self, outlet: Outlet, session: int, fields: dict[str, Any]) -> None:
        if self.is_over:
            outlet.wire.put(detached_frame(session, ErrorCode.STATE_LOST))
            return
        self.core.check_peer(fields["generation"], fields["received"])
        self.core.attach(outlet, session)
        mine = self.core.generation, self.report()
        outlet.wire.put(attached_frame(session, *mine, self.cap))
        self._attached(fields["generation"], fields["received"], self.cap)

    def _attached(self, generation: int, received: int, cap: int) -> None:
        self.highest_cap = max(self.highest_cap, cap)
        self.core.attached(generation, received, cap)

    def _detached(self, code: int) -> None:
        self.core.detached(Input.GOT_DETACHED)
        if code == ErrorCode.STATE_LOST:
            self.core.end(code, "the peer does not know this session")


def _fields(kind: int, payload: memoryview) -> dict[str, Any]:
    return decode_fields(FrameType(kind), payload)


def attached_frame(session: int, generation: int, received: int, cap: int) -> bytes:
    payload = encode_fields(
        FrameType.ATTACHED,
        generation=generation,
        received=received,
        cap=cap,
        proof_kind=0,
        proof=b"",
    )
    return encode_frame(FrameType.ATTACHED, payload, session=session)


def detached_frame(session: int, code: int = ErrorCode.NONE) -> bytes:
    payload = encode_fields(FrameType.DETACHED, code=code, text="")
    return encode_frame(FrameType.DETACHED, payload, session=session)


class DirectNet:
    """One link; the initiator attaches, the responder answers."""

    def __init__(self, ends: tuple[Endpoint, Endpoint]) -> None:
        self.ends = ends
        self._dial()

    def _dial(self) -> None:
        self.wires = [Wire(partial(self._arrive, side)) for side in (1, 0)]
        self.outlets = [Outlet(self.ends[side], self.wires[side]) for side in (0, 1)]

    def _arrive(self, side: int, *frame: Any) -> None:
        self.ends[side].receive(self.outlets[side], *frame)

    def attach(self, side: int) -> None:
        """Attach over a new link if the old one is lost; whoever asks, the initiator does it."""
        if self.wires[0].is_lost:
            self._dial()
        self.ends[0].attach(self.outlets[0])

    def lose(self, side: int) -> tuple[int, ...]:
        """Lose the link; return which sides have lost theirs."""
        for wire in self.wires:
            wire.lose()
        return (0, 1)


class BrokerNet:
    """Two links; a broker switches whole frames between the two and may lose one link only."""

    def __init__(self, ends: tuple[Endpoint, Endpoint]) -> None:
        self.ends = ends
        self._up: list[Wire] = []
        self._down: list[Wire] = []
        self.outlets: list[Outlet] = []
        for side in (0, 1):
            self._up.append(Wire(partial(self._switch, side)))
            self._down.append(Wire(partial(self._arrive, side)))
            self.outlets.append(Outlet(ends[side], self._up[side]))
        self._legs: list[tuple[int, int, int] | None] = [None, None]
        self._is_joined = False

    @property
    def wires(self) -> list[Wire]:
        return [*self._up, *self._down]

    def _arrive(self, side: int, *frame: Any) -> None:
        self.ends[side].receive(self.outlets[side], *frame)

    def attach(self, side: int) -> None:
        """Attach one side, over a new link if it has lost its own."""
        if self._up[side].is_lost:
            self._up[side] = Wire(partial(self._switch, side))
            self._down[side] = Wire(partial(self._arrive, side))
            self.outlets[side] = Outlet(self.ends[side], self._up[side])
        self.ends[side].attach(self.outlets[side])

    def lose(self, side: int) -> tuple[int, ...]:
        """Lose the link of one side; return which sides have lost theirs."""
        self._up[side].lose()
        self._down[side].lose()
        self._part(side)
        return (side,)

    def _part(self, side: int) -> None:
        """End the attachment of one side, and tell the other one."""
        leg = self._legs[1 - side]
        if self._is_joined and leg is not None:
            self._down[1 - side].purge()
            self._down[1 - side].put(detached_frame(leg[0]))
            self._legs[1 - side] = None
        self._legs[side] = None
        self._is_joined = False

    def _switch(
        self,
        side: int,
        kind: int,
        flags: int,
        session: int,
        stream: int,
        sequence: int,
        payload: memoryview,
    ) -> None:
        leg, far = self._legs[side], self._legs[1 - side]
        if kind == FrameType.ATTACH:
            fields = _fields(kind, payload)
            self._part(side)
            self._legs[side] = session, fields["generation"], fields["received"]
            self._join()
        elif self._is_joined and leg and far and leg[0] == session:
            frame = bytearray(HEADER.pack(kind, flags, 0, session, stream, len(payload), sequence))
            SESSION_FIELD.pack_into(frame, 4, far[0])
            self._down[1 - side].put(bytes(frame + payload))

    def _join(self) -> None:
        first, second = self._legs
        if first and second:
            self._is_joined = True
            cap = self.ends[0].cap
            self._down[0].put(attached_frame(first[0], second[1], second[2], cap))
            self._down[1].put(attached_frame(second[0], first[1], first[2], cap))


class World:
    """Two endpoints, the network of this moment, and the time."""

    def __init__(self, sizes: tuple[dict[str, Any], dict[str, Any]]) -> None:
        self.ends = Endpoint(Role.INITIATOR, **sizes[0]), Endpoint(Role.RESPONDER, **sizes[1])
        self.ends[0].peer, self.ends[1].peer = self.ends[1], self.ends[0]
        self.net: DirectNet | BrokerNet = DirectNet(self.ends)
        self.net_before: DirectNet | BrokerNet | None = None
        """What both have moved away from; it may still deliver."""
        self.now = 0.0

    @property
    def wires(self) -> list[Wire]:
        """All that may still deliver."""
        before = self.net_before.wires if self.net_before is not None else []
        return [*self.net.wires, *before]

    def move(self, holds: tuple[bool, bool]) -> None:
        """Let both sides go to a new link, if they are attached, while the one before delivers."""
        if any(end.core.attachment is not Attachment.ATTACHED for end in self.ends):
            return
        self.lose_before()
        self.net_before, self.net = self.net, DirectNet(self.ends)
        told = [(end.core.take_generation(), end.report()) for end in self.ends]
        for side, end in enumerate(self.ends):
            number = 5000 + told[0][0]
            end.move(self.net.outlets[side], number, *told[1 - side], hold=holds[side])

    def lose_before(self) -> None:
        """Lose what is under way on the link before the last move."""
        if self.net_before is not None:
            for side in (0, 1):
                self.net_before.lose(side)
            self.net_before = None
            for end in self.ends:
                end.leave()

    @property
    def taps(self) -> list[Tap]:
        return [tap for end in self.ends for tap in end.taps.values()]

    def flush(self, side: int, seconds: float = 0.0) -> None:
        """Do what a link does before a flush: write what is state, if it was asked for."""
        self.now += seconds
        outlet = self.net.outlets[side]
        if outlet.wants_state:
            outlet.wants_state = False
            self.ends[side].core.write_state(self.now)

    def heal(self) -> None:
        """Lose whatever there is, and attach both sides over a sound new link."""
        self.lose_before()
        self.net = DirectNet(self.ends)
        for end in self.ends:
            end.is_stale = False
            end.lose_link()
        self.net.attach(0)

    def settle(self) -> None:
        """Let everything arrive, be read, and be acknowledged, until nothing happens any more."""
        for _ in range(20_000):
            for tap in self.taps:
                tap.feed(PLENTY)
            for side, end in enumerate(self.ends):
                self.net.outlets[side].room = PLENTY
                end.core.resume()
                end.fire_timer()
                self.flush(side, 0.01)
            wires = [wire for wire in self.wires if wire.size]
            for wire in wires:
                wire.run(wire.size)
            if not wires and any(end.core.is_held for end in self.ends):
                for end in self.ends:
                    end.leave()
            elif not wires and not any(outlet.wants_state for outlet in self.net.outlets):
                return
        raise AssertionError("the two sides never come to rest")
