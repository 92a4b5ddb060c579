"""A session core whose peer sends anything: one documented error, and bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tests.tunnelkit.wire.fakes import FakeEnd, Side, established, keeper, make_side
from tests.tunnelkit.wire.strategies import payloads
from tunnelkit import limits
from tunnelkit.errors import RemoteProtocolError
from tunnelkit.wire.frames import HOP_FRAMES, FrameType, Role, encode_frame
from tunnelkit.wire.reader import FrameReader, Scratch
from tunnelkit.wire.session import AttachmentLost
from tunnelkit.wire.windows import ReceiveWindow

CAP = 8 * limits.KIB
END_TO_END = sorted(set(FrameType) - HOP_FRAMES)


@dataclass(frozen=True)
class Step:
    """A frame that a peer may send: mostly one that gets past the first checks."""

    kind: int
    payload: bytes
    stream: int
    skew: int
    flags: int


def steps() -> st.SearchStrategy[Step]:
    skews = st.sampled_from([0] * 30 + [-1, 1])
    valid = st.sampled_from(END_TO_END).flatmap(
        lambda kind: st.builds(
            Step, st.just(int(kind)), payloads(kind), st.integers(0, 6), skews, st.just(0)
        )
    )
    wild = st.builds(
        Step,
        st.integers(0, 255),
        st.binary(max_size=60),
        st.integers(0, 6),
        skews,
        st.integers(0, 3),
    )
    return st.one_of(valid, valid, valid, wild)


def peer_sends(side: Side, step: Step) -> None:
    sequence = max(0, side.core.received + 1 + step.skew) if 0x20 <= step.kind < 0x40 else 0
    side.feed(
        encode_frame(
            step.kind, step.payload, stream=step.stream, sequence=sequence, flags=step.flags
        )
    )


def program_answers(side: Side, choices: list[int]) -> None:
    """Do with the streams what a program may do at any time."""
    for stream, choice in zip(side.owner.offered, choices, strict=False):
        if stream.phase.value == "offered":
            stream.accept() if choice % 2 else stream.refuse(8, "no")
        if stream.phase.value == "open":
            stream.offer(bytes(choice * 1000))
            if choice > 5:
                stream.finish()
    side.owner.offered.clear()


def check_bounds(side: Side) -> None:
    core = side.core
    most = CAP + limits.CONTROL_RESERVE_BYTES + limits.MAX_CONTROL_BYTES
    assert core.unacknowledged <= most + limits.FRAME_OVERHEAD_BYTES
    assert core.budget.budget.free_bytes >= 0
    for stream in core.streams.values():
        window: ReceiveWindow = stream.window
        assert len(stream.inbox) <= window.granted - window.consumed
        assert window.consumed <= window.received <= window.granted


def play(side: Side, script: list[Step], choices: list[int]) -> None:
    for step in script:
        for stream in side.core.streams.values():
            if not isinstance(stream.sink, FakeEnd):
                stream.sink = FakeEnd(room=step.stream)
        try:
            peer_sends(side, step)
        except (RemoteProtocolError, AttachmentLost):
            return
        program_answers(side, choices)
        side.core.write_state(0.0)
        check_bounds(side)


@given(
    st.sampled_from(list(Role)),
    st.lists(steps(), max_size=40),
    st.lists(st.integers(0, 9), min_size=1, max_size=5),
)
def test_hostile_frames_raise_only_documented_errors(
    role: Role, script: list[Step], choices: list[int]
) -> None:
    side = established(role, cap=CAP)
    for _ in range(2):
        side.core.open_stream("tcp://target:1").offer(b"hello")
    play(side, script, choices)


@given(st.sampled_from(list(Role)), st.lists(steps(), max_size=10))
def test_hostile_frames_before_session_open_raise_only_documented_errors(
    role: Role, script: list[Step]
) -> None:
    side = make_side(role)
    side.core.attach(side.outlet, 1)
    side.core.attached(1, 0, CAP)
    side.core.open_stream("tcp://target:1")
    play(side, script, [1])


@given(st.binary(max_size=400))
def test_garbage_raises_only_the_documented_error(garbage: bytes) -> None:
    side = established(Role.RESPONDER)
    reader = FrameReader(Scratch(64 * limits.KIB))

    def deliver(
        kind: int, flags: int, _session: int, stream: int, sequence: int, payload: memoryview
    ) -> None:
        side.core.receive(kind, flags, stream, sequence, payload)

    try:
        reader.feed(garbage, deliver)
        reader.feed(encode_frame(FrameType.ACK, bytes(8)) + garbage, keeper([]))
    except (RemoteProtocolError, AttachmentLost):
        pass


def test_peer_that_never_reads_grows_nothing() -> None:
    side = established(Role.INITIATOR, cap=CAP)
    stream = side.core.open_stream("tcp://target:1")
    stream.sink = FakeEnd()
    for _ in range(1000):
        stream.offer(bytes(limits.KIB))
    check_bounds(side)
