"""What the tests of the wire core stand on: an outlet that is a list, an owner, an end, a pipe.

`Pair` joins two session cores by hand: nothing moves until the test calls `exchange`, which carries
whole frames to and fro until both sides are quiet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tunnelkit import limits
from tunnelkit.wire.frames import (
    HEADER,
    HEADER_BYTES,
    FrameType,
    Role,
    Value,
    encode_fields,
    encode_frame,
)
from tunnelkit.wire.reader import Deliver, FrameReader, Scratch
from tunnelkit.wire.sending import Sender
from tunnelkit.wire.session import SessionCore
from tunnelkit.wire.stream import Buffer, StreamCore

NO_SHARE = bytes(32)
NO_SIGNATURE = bytes(64)


@dataclass(frozen=True)
class Frame:
    """One frame as a reader saw it."""

    kind: int
    flags: int
    session: int
    stream: int
    sequence: int
    payload: bytes

    @property
    def type(self) -> FrameType:
        return FrameType(self.kind)


def keeper(frames: list[Frame]) -> Deliver:
    """Return what puts delivered frames into a list."""

    def keep(
        kind: int, flags: int, session: int, stream: int, sequence: int, payload: memoryview
    ) -> None:
        frames.append(Frame(kind, flags, session, stream, sequence, bytes(payload)))

    return keep


def read_frames(data: bytes, *, max_payload_bytes: int = limits.MAX_PAYLOAD_BYTES) -> list[Frame]:
    """Return the frames in *data*, which must hold whole ones only."""
    frames: list[Frame] = []
    reader = FrameReader(Scratch(limits.SCRATCH_BYTES))
    reader.max_payload_bytes = max_payload_bytes
    reader.feed(data, keeper(frames))
    assert not reader.pending_bytes
    return frames


class FakeOutlet:
    """Keeps what is written as a list of frames."""

    def __init__(self, *, is_clear: bool = True) -> None:
        self.is_clear = is_clear
        self.frame_bytes: int = limits.BULK_FRAME_BYTES
        self.written: list[bytes] = []
        self.wants_state = False

    def write(self, first: Buffer, second: Buffer | None = None) -> None:
        self.written.append(bytes(first) + (b"" if second is None else bytes(second)))

    def want_state(self, session: Sender) -> None:
        self.wants_state = True

    def take(self) -> list[Frame]:
        """Return the frames written since the last call."""
        written, self.written = self.written, []
        return [frame for data in written for frame in read_frames(data)]

    def types(self) -> list[FrameType]:
        """Return the types of the frames written since the last call."""
        return [frame.type for frame in self.take()]


class FakeOwner:
    """Accepts the peer, keeps offered streams, and notes what it was told."""

    def __init__(self) -> None:
        self.core: SessionCore | None = None
        self.opened_with: Mapping[str, Value] | None = None
        self.offered: list[StreamCore] = []
        self.acks_wanted = 0
        self.over: tuple[int, str] | None = None
        self.times_all_acknowledged = 0

    def peer_named_addresses(self, text: str) -> None:
        pass

    def peer_renewed(self, values: Mapping[str, Value]) -> None:
        pass

    def peer_opened(self, values: Mapping[str, Value]) -> None:
        self.opened_with = values
        assert self.core is not None
        self.core.establish()

    def stream_offered(self, stream: StreamCore) -> None:
        self.offered.append(stream)

    def ack_wanted(self) -> None:
        self.acks_wanted += 1

    def session_over(self, code: int, text: str) -> None:
        self.over = code, text

    def all_acknowledged(self) -> None:
        self.times_all_acknowledged += 1


class FakeEnd:
    """Takes up to `room` bytes and notes every call."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.room = room
        self.data = bytearray()
        self.calls: list[str] = []

    def offer(self, data: Buffer) -> int:
        taken = min(len(data), self.room)
        self.room -= taken
        self.data += data[:taken]
        return taken

    def finish(self) -> None:
        self.calls.append("finish")

    def abort(self, code: int, text: str) -> None:
        self.calls.append("abort")

    def stop(self, code: int, text: str) -> None:
        self.calls.append("stop")

    def reset(self, code: int, text: str) -> None:
        self.calls.append("reset")

    def resume(self) -> None:
        self.calls.append("resume")


@dataclass
class Side:
    """A session core with its fakes."""

    core: SessionCore
    owner: FakeOwner
    outlet: FakeOutlet

    def feed(self, data: bytes) -> None:
        """Let the core take one whole frame."""
        kind, flags, _hop, _session, stream, _length, sequence = HEADER.unpack_from(data)
        self.core.receive(kind, flags, stream, sequence, memoryview(data)[HEADER_BYTES:])

    def feed_next(self, kind: int, payload: bytes = b"", stream: int = 0) -> None:
        """Let the core take a frame with the number that it expects."""
        sequence = self.core.received + 1 if 0x20 <= kind < 0x40 else 0
        self.feed(encode_frame(kind, payload, session=1, stream=stream, sequence=sequence))

    def stream(self, number: int = 0) -> StreamCore:
        """Return the offered stream with this index."""
        return self.owner.offered[number]


def make_side(role: Role, *, window_bytes: int = limits.DEFAULT_SESSION_WINDOW_BYTES) -> Side:
    """Return a core that is not attached yet."""
    owner = FakeOwner()
    owner.core = core = SessionCore(owner, role, window_bytes=window_bytes)
    return Side(core, owner, FakeOutlet())


def session_open(role: Role) -> bytes:
    """Return the payload of a session-open."""
    return encode_fields(
        FrameType.SESSION_OPEN,
        role=int(role),
        share=NO_SHARE,
        token=b"token",
        signature=NO_SIGNATURE,
    )


def established(role: Role, *, cap: int = 1 << 30) -> Side:
    """Return a core whose peer, played by the test, has opened the session."""
    side = make_side(role)
    side.core.attach(side.outlet, 1)
    side.core.attached(1, 0, cap)
    side.feed_next(FrameType.SESSION_OPEN, session_open(Role(1 - role)))
    side.core.send_session_open(NO_SHARE, b"token", NO_SIGNATURE)
    side.outlet.take()
    return side


class Pair:
    """Two cores that are attached to each other and established."""

    def __init__(self, *, window_bytes: int = limits.DEFAULT_SESSION_WINDOW_BYTES) -> None:
        self.left = make_side(Role.INITIATOR, window_bytes=window_bytes)
        self.right = make_side(Role.RESPONDER, window_bytes=window_bytes)
        for side in (self.left, self.right):
            side.core.send_session_open(NO_SHARE, b"token", NO_SIGNATURE)
        self.attach()

    def attach(self, cap: int = 1 << 30) -> None:
        """Attach both over fresh outlets; what was written to the old ones is lost."""
        for side in (self.left, self.right):
            side.outlet = FakeOutlet()
            side.core.attach(side.outlet, 1)
        told = [(side.core.generation, side.core.received) for side in (self.left, self.right)]
        self.left.core.attached(*told[1], cap)
        self.right.core.attached(*told[0], cap)
        self.exchange()

    def cut(self) -> None:
        """Lose the link, and what is on it."""
        self.left.core.detached()
        self.right.core.detached()

    def carry(self) -> bool:
        """Carry once what both have written; say whether there was anything."""
        batches = [(self.right, self.left.outlet), (self.left, self.right.outlet)]
        moved = False
        for side, outlet in batches:
            written, outlet.written = outlet.written, []
            for data in written:
                moved = True
                side.feed(data)
        return moved

    def exchange(self) -> None:
        """Carry frames to and fro, acknowledgements included, until both are quiet."""
        moved = True
        while moved:
            moved = self.carry()
            for side in (self.left, self.right):
                side.core.ack_now()
                side.core.write_state(0.0)
                moved = moved or bool(side.outlet.written)

    def open(self, sink: FakeEnd | None = None) -> tuple[StreamCore, StreamCore]:
        """Open a stream from the left and accept it on the right."""
        near = self.left.core.open_stream("tcp://target:1")
        self.exchange()
        far = self.right.stream(-1)
        near.sink, far.sink = FakeEnd(), sink or FakeEnd()
        far.accept()
        self.exchange()
        return near, far
