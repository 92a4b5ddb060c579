"""Our machine of HTTP/2 and bytes of any kind: nothing is raised, and what is kept is bounded."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnelkit.http.h2_peer import Peer
from tests.tunnelkit.http.h2_talkers import LIMITS
from tests.tunnelkit.http.test_h2_proxy import frame
from tunnelkit.http.h2_events import ConnectionFailed, DataReceived, Event, WindowUpdated
from tunnelkit.http.h2_frames import MAX_FRAME_BYTES, PREFACE
from tunnelkit.http.h2_machine import Machine

BLOCKS = [b"\x82\x84\x86", b"\x88", b"\x40\1a\1b", b"\xbe", b"\x10\1a\1b", b"\x3f\xe1\x1f", b""]
PAYLOADS = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(BLOCKS),
    st.sampled_from(
        [bytes(4), bytes(5), bytes(8), b"\0\0\0\1", b"\0\4\0\0\0\0", b"\x7f\xff\xff\xff"]
    ),
    st.just(bytes(MAX_FRAME_BYTES)),
)
FRAMES = st.builds(
    frame,
    st.integers(0, 11),
    PAYLOADS,
    stream_id=st.sampled_from([0, 1, 2, 3, 5, 7]),
    flags=st.sampled_from([0, 1, 4, 5, 8, 12, 13, 0x24, 0xFF]),
)
GARBAGE = st.lists(st.one_of(FRAMES, FRAMES, FRAMES, st.binary(max_size=20)), max_size=30)
ASK = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]


def machine_of(*, is_client: bool) -> Machine:
    """Return a machine in the middle of things."""
    machine = Machine(is_client=is_client, limits=LIMITS)
    if is_client:
        machine.open_stream(ASK, ends=False)
        machine.open_stream(ASK, ends=True)
    machine.receive((b"" if is_client else PREFACE) + frame(4), 0.0)
    machine.take_output()
    return machine


@settings(max_examples=500)
@given(st.booleans(), GARBAGE)
def test_garbage_raises_nothing_and_nothing_grows(is_client: bool, frames: list[bytes]) -> None:
    machine = machine_of(is_client=is_client)
    sent = 0
    for data in frames:
        for event in machine.receive(data, 0.0):
            if isinstance(event, DataReceived):
                machine.acknowledge(event.stream_id, event.flow_controlled_length)
        sent += len(data)
        assert len(machine._rest) < 9 + MAX_FRAME_BYTES
        assert len(machine._block) <= LIMITS.max_header_bytes
        assert machine.open_count <= LIMITS.max_streams
        assert len(machine.take_output()) <= 2 * sent + 100


@settings(max_examples=500)
@given(st.booleans(), GARBAGE, st.lists(st.integers(1, 3_000), min_size=1, max_size=50))
def test_pieces_say_the_same_as_the_whole(
    is_client: bool, frames: list[bytes], sizes: list[int]
) -> None:
    data = b"".join(frames)
    whole = machine_of(is_client=is_client)
    wanted = whole.receive(data, 0.0)
    machine, got = machine_of(is_client=is_client), list[Event]()
    while data:
        for size in sizes:
            got += machine.receive(data[:size], 0.0)
            data = data[size:]
    every_time = WindowUpdated(0)  # told once of what has come together
    assert [one for one in got if one != every_time] == [one for one in wanted if one != every_time]
    assert machine.take_output() == whole.take_output()


def test_nothing_is_heard_behind_the_end() -> None:
    peer = Peer()
    assert isinstance(peer.send(b"x" * 9)[-1], ConnectionFailed)
    assert peer.send(b"x" * 100_000) == []
    assert peer.machine._rest == b""
