"""A session core: attaching, numbers, acknowledgement, replay, caps, closing (spec §7)."""

from __future__ import annotations

import pytest

from tests.tunnelkit.wire.fakes import (
    NO_SHARE,
    NO_SIGNATURE,
    FakeEnd,
    FakeOutlet,
    Pair,
    Side,
    established,
    make_side,
    session_open,
)
from tunnelkit import limits
from tunnelkit.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, SessionError
from tunnelkit.wire.frames import FLAG_OPTIONAL, FrameType, Role, encode_fields, encode_frame
from tunnelkit.wire.session import AttachmentLost
from tunnelkit.wire.states import Input

OVERHEAD = limits.FRAME_OVERHEAD_BYTES


def open_payload() -> bytes:
    return encode_fields(FrameType.OPEN, target="tcp://target:1", metadata=())


def ack(received: int) -> bytes:
    return encode_fields(FrameType.ACK, received=received)


def attached(role: Role) -> Side:
    """Return a core that is attached and has not heard a session-open."""
    side = make_side(role)
    side.core.attach(side.outlet, 1)
    side.core.attached(1, 0, 1 << 30)
    return side


def opened_streams(side: Side, count: int) -> None:
    """Let the peer, played by the test, open streams."""
    for number in range(count):
        side.feed_next(FrameType.OPEN, open_payload(), 2 * number + 1)


# --- session-open (§7.5) --------------------------------------------------------------------


def test_nothing_but_session_open_is_sent_before_the_peers() -> None:
    side = attached(Role.INITIATOR)
    side.core.send_session_open(NO_SHARE, b"token", NO_SIGNATURE)
    side.core.open_stream("tcp://target:1").offer(b"secret")
    assert side.outlet.types() == [FrameType.SESSION_OPEN]
    side.feed_next(FrameType.SESSION_OPEN, session_open(Role.RESPONDER))
    assert side.outlet.types() == [FrameType.OPEN]


def test_opens_before_session_open_are_errors() -> None:
    with pytest.raises(RemoteProtocolError, match="session-open"):
        attached(Role.RESPONDER).feed_next(FrameType.OPEN, open_payload(), 1)


def test_answers_before_session_open_are_errors() -> None:
    side = attached(Role.INITIATOR)
    side.core.send_session_open(NO_SHARE, b"token", NO_SIGNATURE)
    side.core.open_stream("tcp://target:1")
    with pytest.raises(RemoteProtocolError, match="session-open"):
        side.feed_next(FrameType.OPENED, b"", 1)


def test_closing_before_session_open_is_an_error() -> None:
    payload = encode_fields(FrameType.SESSION_CLOSE, code=0, text="")
    with pytest.raises(RemoteProtocolError, match="session-open"):
        attached(Role.RESPONDER).feed_next(FrameType.SESSION_CLOSE, payload)


def test_second_session_open_is_an_error() -> None:
    side = established(Role.RESPONDER)
    with pytest.raises(RemoteProtocolError, match="session-open"):
        side.feed_next(FrameType.SESSION_OPEN, session_open(Role.INITIATOR))


# --- attaching (§7.2, §7.6) -----------------------------------------------------------------


def test_each_attach_has_a_higher_generation() -> None:
    core = make_side(Role.INITIATOR).core
    generations = []
    for _ in range(3):
        core.attach(FakeOutlet(), 1)
        generations.append(core.generation)
    assert generations == [1, 2, 3]


def test_stale_generation_is_refused() -> None:
    pair = Pair()
    with pytest.raises(SessionError) as caught:
        pair.left.core.check_peer(pair.right.core.generation, 1)
    assert caught.value.code == ErrorCode.STALE_GENERATION


@pytest.mark.parametrize("received", [0, 2, 1 << 63])
def test_impossible_received_is_state_lost(received: int) -> None:
    pair = Pair()
    pair.attach()
    with pytest.raises(SessionError) as caught:
        pair.left.core.check_peer(99, received)
    assert caught.value.code == ErrorCode.STATE_LOST


def test_second_attached_of_the_peer_is_a_protocol_error() -> None:
    pair = Pair()
    with pytest.raises(RemoteProtocolError, match="attached"):
        pair.left.core.attached(99, 1, 1 << 30)


def test_frames_outside_of_an_attachment_are_dropped() -> None:
    side = established(Role.RESPONDER)
    side.core.detached()
    side.feed_next(FrameType.OPEN, open_payload(), 1)
    assert side.owner.offered == []
    assert side.core.received == 1


# --- numbers (§7.3) -------------------------------------------------------------------------


def test_frames_are_numbered_from_one_without_gaps() -> None:
    pair = Pair()
    near, _far = pair.open()
    near.offer(b"a")
    near.offer(b"b")
    near.finish()
    assert [frame.sequence for frame in pair.left.outlet.take()] == [3, 4, 5]


def test_repeated_frame_is_dropped_and_counted() -> None:
    side = established(Role.RESPONDER)
    opened_streams(side, 1)
    side.feed(encode_frame(FrameType.OPEN, open_payload(), stream=1, sequence=2))
    assert len(side.owner.offered) == 1
    assert side.core.duplicate_frames == 1


def test_gap_loses_the_attachment() -> None:
    side = established(Role.RESPONDER)
    with pytest.raises(AttachmentLost):
        side.feed(encode_frame(FrameType.OPEN, open_payload(), stream=1, sequence=3))
    assert side.core.received == 1


def test_optional_unknown_frame_is_counted_and_skipped() -> None:
    side = established(Role.RESPONDER)
    side.feed(encode_frame(0x3F, b"later", sequence=2, flags=FLAG_OPTIONAL))
    assert side.core.received == 2


def test_unknown_frame_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="0x3f"):
        established(Role.RESPONDER).feed_next(0x3F)


def test_ack_of_a_frame_never_sent_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="never sent"):
        established(Role.RESPONDER).feed_next(FrameType.ACK, ack(2))


def test_lower_ack_changes_nothing() -> None:
    pair = Pair()
    pair.open()
    pair.left.feed_next(FrameType.ACK, ack(0))
    assert pair.left.core.is_idle


def test_acknowledged_frames_are_not_kept() -> None:
    side = established(Role.RESPONDER)
    assert side.core.unacknowledged > 0
    side.feed_next(FrameType.ACK, ack(1))
    assert side.core.unacknowledged == 0
    assert side.core.is_idle


def test_ack_is_wanted_once_for_many_frames() -> None:
    side = established(Role.RESPONDER)
    before = side.owner.acks_wanted
    side.core.ack_now()
    side.core.write_state(0.0)
    opened_streams(side, 3)
    assert side.owner.acks_wanted - before == 1


def test_ack_is_due_after_an_eighth_of_the_cap() -> None:
    side = established(Role.RESPONDER, cap=8 * 2 * OVERHEAD)
    side.core.ack_now()
    side.core.write_state(0.0)
    side.outlet.take()
    opened_streams(side, 2)
    side.core.write_state(0.0)
    assert side.outlet.types() == [FrameType.ACK]


# --- replay (§7.3.4) ------------------------------------------------------------------------


def test_lost_frames_are_sent_again() -> None:
    pair, sink = Pair(), FakeEnd()
    near, _far = pair.open(sink)
    near.offer(b"lost on the way")
    near.finish()
    pair.cut()
    pair.attach()
    assert (bytes(sink.data), sink.calls) == (b"lost on the way", ["finish"])


def test_replay_has_the_new_session_number_and_the_old_sequence() -> None:
    side = established(Role.RESPONDER)
    side.core.detached()
    outlet = FakeOutlet()
    side.core.attach(outlet, 77)
    side.core.attached(2, 0, 1 << 30)
    (frame,) = outlet.take()
    assert (frame.session, frame.sequence, frame.type) == (77, 1, FrameType.SESSION_OPEN)


def test_reused_buffer_does_not_change_what_is_replayed() -> None:
    pair, sink = Pair(), FakeEnd()
    near, _far = pair.open(sink)
    buffer = bytearray(b"x" * limits.KEEP_BY_REFERENCE_BYTES)
    near.offer(buffer)
    pair.cut()
    buffer[:] = bytes(len(buffer))
    pair.attach()
    assert set(sink.data) == {ord("x")}


def test_nothing_new_is_numbered_before_replay_is_over() -> None:
    pair = Pair()
    near, _far = pair.open()
    near.offer(b"old")
    pair.cut()
    outlet = FakeOutlet(is_clear=False)
    pair.left.core.attach(outlet, 3)
    pair.left.core.attached(9, 2, 1 << 30)
    assert near.offer(b"new") == 0
    outlet.is_clear = True
    pair.left.core.resume()
    assert near.offer(b"new") == 3
    assert [frame.payload for frame in outlet.take()] == [b"old", b"new"]


def test_raised_window_follows_replay() -> None:
    pair = Pair()
    near, _far = pair.open()
    near.offer(b"old")
    near.window.consume(limits.INITIAL_STREAM_WINDOW_BYTES)
    near.window.update(0.0, pair.left.core.budget)
    pair.cut()
    pair.left.core.attach(pair.left.outlet, 3)
    pair.left.outlet.take()
    pair.left.core.attached(9, 2, 1 << 30)
    pair.left.core.write_state(0.0)
    types = pair.left.outlet.types()
    assert types.index(FrameType.WINDOW) > types.index(FrameType.DATA)
    assert FrameType.ACK in types


def test_lost_window_is_announced_again() -> None:
    pair, sink = Pair(), FakeEnd()
    near, _far = pair.open(sink)
    near.offer(bytes(limits.INITIAL_STREAM_WINDOW_BYTES))
    pair.carry()
    pair.right.core.write_state(0.0)
    pair.cut()
    pair.attach()
    assert near.credit >= 2 * limits.INITIAL_STREAM_WINDOW_BYTES


# --- the session window (§7.7) --------------------------------------------------------------

CREDIT = encode_fields(FrameType.WINDOW, credit=1 << 40)


def test_data_keeps_within_the_cap() -> None:
    cap = limits.BROKER_MIN_CAP_BYTES
    side = established(Role.INITIATOR, cap=cap)
    stream = side.core.open_stream("tcp://target:1")
    side.feed_next(FrameType.WINDOW, CREDIT, 1)
    assert stream.offer(bytes(4 * cap)) > 0
    assert side.core.unacknowledged <= cap


@pytest.mark.parametrize("cap", [0, 1, 100, OVERHEAD])
def test_cap_without_room_stops_data(cap: int) -> None:
    side = established(Role.INITIATOR)
    stream = side.core.open_stream("tcp://target:1")
    side.feed_next(FrameType.ACK, ack(2))
    side.core.limit(cap)
    side.outlet.take()
    assert stream.offer(bytes(1000)) == 0
    assert side.outlet.types() == []


def test_control_may_use_the_reserve() -> None:
    side = established(Role.INITIATOR, cap=1)
    side.core.open_stream("tcp://target:1")
    assert side.outlet.types() == [FrameType.OPEN]


def test_control_stays_within_the_reserve() -> None:
    side = established(Role.INITIATOR, cap=1)
    for _ in range(1000):
        side.core.open_stream("tcp://target:1")
    most = limits.CONTROL_RESERVE_BYTES + limits.MAX_CONTROL_BYTES + OVERHEAD
    assert side.core.unacknowledged <= 1 + most


def test_acknowledgement_lets_a_full_session_go_on() -> None:
    side = established(Role.INITIATOR, cap=4096)
    stream = side.core.open_stream("tcp://target:1")
    stream.sink = sink = FakeEnd()
    assert stream.offer(bytes(10_000)) < 10_000
    side.feed_next(FrameType.ACK, ack(2))
    side.feed_next(FrameType.ACK, ack(3))
    assert "resume" in sink.calls


def test_replay_keeps_within_a_smaller_cap() -> None:
    side = established(Role.INITIATOR)
    stream = side.core.open_stream("tcp://target:1")
    side.feed_next(FrameType.WINDOW, CREDIT, 1)
    for _ in range(64):
        stream.offer(bytes(32 * limits.KIB))
    side.core.detached()
    side.core.attach(side.outlet, 3)
    side.outlet.take()
    side.core.attached(2, 0, 256 * limits.KIB)
    sent = sum(len(frame.payload) for frame in side.outlet.take())
    assert 0 < sent <= 256 * limits.KIB + limits.MAX_PAYLOAD_BYTES


def test_small_stream_is_served_beside_a_bulk_one() -> None:
    side = established(Role.INITIATOR, cap=100_000)
    bulk, small = (side.core.open_stream("tcp://target:1") for _ in range(2))
    bulk.sink, small.sink = FakeEnd(), FakeEnd()
    side.feed_next(FrameType.WINDOW, CREDIT, 1)
    bulk.offer(bytes(1 << 20))
    assert small.offer(b"echo") == 0
    side.feed_next(FrameType.ACK, ack(3))
    side.feed_next(FrameType.ACK, ack(4))
    assert isinstance(small.sink, FakeEnd)
    assert small.sink.calls == ["resume"]


def test_data_waits_for_a_clear_outlet() -> None:
    side = established(Role.INITIATOR)
    stream = side.core.open_stream("tcp://target:1")
    stream.sink = sink = FakeEnd()
    side.outlet.is_clear = False
    assert stream.offer(b"x") == 0
    side.outlet.is_clear = True
    side.core.resume()
    assert sink.calls == ["resume"]


# --- streams of the peer (§8.1) -------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 1])
def test_open_needs_a_new_number_of_the_peers_parity(number: int) -> None:
    side = established(Role.RESPONDER)
    opened_streams(side, 1)
    with pytest.raises(RemoteProtocolError, match="not a new one"):
        side.feed_next(FrameType.OPEN, open_payload(), number)


def test_opens_that_wait_are_bounded() -> None:
    side = established(Role.RESPONDER)
    opened_streams(side, limits.MAX_UNACCEPTED_OPENS + 1)
    assert len(side.owner.offered) == limits.MAX_UNACCEPTED_OPENS
    assert side.outlet.types() == [FrameType.REFUSED]


def flood(side: Side, *, then_reset: bool, most: int) -> None:
    """Open streams for ever, take no answer, acknowledge nothing."""
    reset = encode_fields(FrameType.RESET, direction=3, code=0, text="")
    for number in range(1, 2 * most, 2):
        side.feed_next(FrameType.OPEN, open_payload(), number)
        if then_reset:
            side.feed_next(FrameType.RESET, reset, number)


@pytest.mark.parametrize("then_reset", [False, True])
def test_peer_that_opens_and_takes_no_answer_is_ended(
    then_reset: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_STREAMS_PER_SESSION", 64)
    monkeypatch.setattr(limits, "MAX_UNACCEPTED_OPENS", 32)
    side = established(Role.RESPONDER, cap=1)
    with pytest.raises(RemoteProtocolError, match="answers"):
        flood(side, then_reset=then_reset, most=4096)


# --- closing (§7.8) -------------------------------------------------------------------------


def test_data_sent_before_close_arrives() -> None:
    pair, sink = Pair(), FakeEnd()
    near, _far = pair.open(sink)
    near.offer(b"last")
    near.finish()
    pair.left.core.send_close(ErrorCode.NONE, "")
    pair.carry()
    assert (bytes(sink.data), sink.calls[0]) == (b"last", "finish")
    assert pair.right.owner.over == (ErrorCode.NONE, "")


def test_close_is_acknowledged() -> None:
    pair = Pair()
    pair.left.core.send_close(ErrorCode.NONE, "")
    pair.carry()
    pair.carry()
    assert pair.left.core.is_idle


def test_end_tells_every_stream_once() -> None:
    pair, sink = Pair(), FakeEnd()
    pair.open(sink)
    pair.right.core.end(ErrorCode.GRACE_EXPIRED, "no link")
    pair.right.core.end(ErrorCode.GRACE_EXPIRED, "no link")
    assert sink.calls == ["abort", "stop"]
    assert pair.right.core.streams == {}


def test_end_answers_a_waiting_open() -> None:
    side = established(Role.INITIATOR)
    stream = side.core.open_stream("tcp://target:1")
    codes: list[int] = []
    stream.on_answer = lambda answered: codes.append(answered.answer_code)
    side.core.end(ErrorCode.GRACE_EXPIRED, "no link")
    assert codes == [ErrorCode.GRACE_EXPIRED]


def test_ended_session_opens_no_stream() -> None:
    side = established(Role.INITIATOR)
    side.core.end(ErrorCode.NONE, "")
    with pytest.raises(LocalProtocolError, match="ended"):
        side.core.open_stream("tcp://target:1")


def test_misuse_is_told_apart_from_the_peers_errors() -> None:
    with pytest.raises(LocalProtocolError, match="link-lost"):
        make_side(Role.INITIATOR).core.detached(Input.LINK_LOST)
