"""One stream between two session cores: data, credit, endings, forgetting (spec §8)."""

from __future__ import annotations

import pytest

from tests.tunnelkit.wire.fakes import FakeEnd, Pair, established
from tunnelkit import limits
from tunnelkit.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from tunnelkit.wire.frames import FrameType, ResetDirection, Role, encode_fields
from tunnelkit.wire.states import Half, Phase
from tunnelkit.wire.stream import StreamCore

WINDOW = limits.INITIAL_STREAM_WINDOW_BYTES
STOP = encode_fields(FrameType.STOP, code=0)


def open_payload(target: str = "tcp://target:1") -> bytes:
    return encode_fields(FrameType.OPEN, target=target, metadata=())


def reset_payload(direction: ResetDirection) -> bytes:
    return encode_fields(FrameType.RESET, direction=int(direction), code=17, text="broken")


def answers_of(stream: StreamCore) -> list[Phase]:
    """Return a list that grows when the stream is answered."""
    answers: list[Phase] = []
    stream.on_answer = lambda answered: answers.append(answered.phase)
    return answers


# --- data and credit (§8.3) -----------------------------------------------------------------


def test_data_arrives_in_order() -> None:
    pair, sink = Pair(), FakeEnd()
    near, _far = pair.open(sink)
    assert [near.offer(data) for data in (b"one ", b"two ", b"three")] == [4, 4, 5]
    pair.exchange()
    assert sink.data == b"one two three"


def test_data_may_follow_open_without_waiting() -> None:
    pair = Pair()
    near = pair.left.core.open_stream("tcp://target:1")
    assert near.offer(b"early") == 5
    pair.exchange()
    assert pair.right.stream().inbox == b"early"


def test_offer_before_accept_is_a_misuse() -> None:
    pair = Pair()
    pair.left.core.open_stream("tcp://target:1")
    pair.exchange()
    with pytest.raises(LocalProtocolError, match="accepted"):
        pair.right.stream().offer(b"x")


def test_end_before_accept_is_a_misuse() -> None:
    pair = Pair()
    pair.left.core.open_stream("tcp://target:1")
    pair.exchange()
    with pytest.raises(LocalProtocolError, match="accepted"):
        pair.right.stream().finish()


def test_first_data_frame_larger_than_window_is_refused() -> None:
    side = established(Role.RESPONDER)
    side.feed_next(FrameType.OPEN, open_payload(), 1)
    with pytest.raises(RemoteProtocolError, match="credit"):
        side.feed_next(FrameType.DATA, bytes(WINDOW + 1), 1)


def test_discarded_data_is_held_to_the_credit_too() -> None:
    side = established(Role.RESPONDER)
    side.feed_next(FrameType.OPEN, open_payload(), 1)
    side.stream().stop(0)
    side.feed_next(FrameType.DATA, bytes(WINDOW), 1)
    assert not side.stream().inbox
    with pytest.raises(RemoteProtocolError, match="credit"):
        side.feed_next(FrameType.DATA, b"x", 1)


def test_unread_data_stops_the_sender() -> None:
    pair = Pair()
    near, far = pair.open(FakeEnd(room=0))
    assert near.offer(bytes(10 * WINDOW)) == WINDOW
    pair.exchange()
    assert near.offer(b"x") == 0
    assert len(far.inbox) == WINDOW


def test_unread_stream_does_not_stop_another() -> None:
    pair = Pair()
    stuck, _ = pair.open(FakeEnd(room=0))
    stuck.offer(bytes(WINDOW))
    sink = FakeEnd()
    near, _ = pair.open(sink)
    near.offer(b"passes")
    pair.exchange()
    assert sink.data == b"passes"


def test_full_receive_window_pauses_and_resumes() -> None:
    pair, sink = Pair(), FakeEnd(room=0)
    near, far = pair.open(sink)
    near.offer(bytes(WINDOW + 1))
    pair.exchange()
    sink.room = 1 << 40
    far.resume()
    pair.exchange()
    assert isinstance(near.sink, FakeEnd)
    assert near.sink.calls == ["resume"]
    assert near.offer(b"x") == 1


def test_credit_comes_back_for_what_was_taken_only() -> None:
    pair = Pair()
    near, far = pair.open(FakeEnd(room=0))
    near.offer(bytes(WINDOW))
    pair.exchange()
    assert len(far.take(WINDOW // 2)) == WINDOW // 2
    pair.exchange()
    assert near.credit == WINDOW + WINDOW // 2


def test_lower_credit_changes_nothing() -> None:
    pair = Pair()
    near, _far = pair.open()
    pair.left.feed_next(FrameType.WINDOW, encode_fields(FrameType.WINDOW, credit=1), 1)
    assert near.credit == WINDOW


def test_largest_credit_overflows_nothing() -> None:
    pair = Pair()
    near, _far = pair.open()
    payload = encode_fields(FrameType.WINDOW, credit=(1 << 64) - 1)
    pair.left.feed_next(FrameType.WINDOW, payload, 1)
    assert near.offer(bytes(2 * WINDOW)) == 2 * WINDOW


def test_sink_that_takes_some_gets_the_rest_on_resume() -> None:
    pair, sink = Pair(), FakeEnd(room=3)
    near, far = pair.open(sink)
    near.offer(b"abcdef")
    pair.exchange()
    assert sink.data == b"abc"
    sink.room = 100
    far.resume()
    assert sink.data == b"abcdef"


# --- endings (§8.2) -------------------------------------------------------------------------


def test_blocked_reader_wakes_on_remote_eof() -> None:
    pair, sink = Pair(), FakeEnd()
    near, _far = pair.open(sink)
    near.finish()
    pair.exchange()
    assert sink.calls == ["finish"]


def test_end_waits_for_unread_data() -> None:
    pair, sink = Pair(), FakeEnd(room=0)
    near, far = pair.open(sink)
    near.offer(b"last words")
    near.finish()
    pair.exchange()
    assert sink.calls == []
    sink.room = 100
    far.resume()
    assert (bytes(sink.data), sink.calls) == (b"last words", ["finish"])


def test_reset_is_ordered_behind_data() -> None:
    pair, sink = Pair(), FakeEnd()
    near, _far = pair.open(sink)
    near.offer(b"before")
    near.abort(ErrorCode.CONNECTION_RESET)
    pair.exchange()
    assert (bytes(sink.data), sink.calls) == (b"before", ["abort"])


def test_reset_waits_for_unread_data() -> None:
    pair, sink = Pair(), FakeEnd(room=0)
    near, far = pair.open(sink)
    near.offer(b"before")
    near.abort(ErrorCode.CONNECTION_RESET)
    pair.exchange()
    assert sink.calls == []
    sink.room = 100
    far.resume()
    assert (bytes(sink.data), sink.calls) == (b"before", ["abort"])


def test_reset_of_one_direction_leaves_the_other() -> None:
    pair = Pair()
    near, far = pair.open()
    near.abort(ErrorCode.CONNECTION_RESET)
    pair.exchange()
    far.offer(b"still here")
    far.finish()
    pair.exchange()
    assert isinstance(near.sink, FakeEnd)
    assert (bytes(near.sink.data), near.sink.calls) == (b"still here", ["finish"])


def test_stop_makes_the_writer_reset() -> None:
    pair = Pair()
    near, far = pair.open()
    far.stop(ErrorCode.NOT_READING)
    pair.exchange()
    assert isinstance(near.sink, FakeEnd)
    assert (near.outgoing, near.sink.calls) == (Half.RESET, ["stop"])
    assert far.incoming is Half.RESET
    assert near.offer(b"x") == 0


def test_reset_without_direction_is_an_error() -> None:
    side = established(Role.RESPONDER)
    side.feed_next(FrameType.OPEN, open_payload(), 1)
    payload = encode_fields(FrameType.RESET, direction=4, code=0, text="")
    with pytest.raises(RemoteProtocolError, match="direction"):
        side.feed_next(FrameType.RESET, payload, 1)


# --- opening (§8.1) -------------------------------------------------------------------------


def test_refusal_reaches_the_opener() -> None:
    pair = Pair()
    near = pair.left.core.open_stream("tcp://nowhere:1")
    answers = answers_of(near)
    pair.exchange()
    pair.right.stream().refuse(ErrorCode.UNKNOWN_TARGET, "no such target")
    pair.exchange()
    assert answers == [Phase.REFUSED]
    assert (near.answer_code, near.answer_text) == (ErrorCode.UNKNOWN_TARGET, "no such target")


def test_open_that_is_reset_before_its_answer_is_refused() -> None:
    side = established(Role.INITIATOR)
    answers = answers_of(side.core.open_stream("tcp://target:1"))
    side.feed_next(FrameType.RESET, reset_payload(ResetDirection.BOTH), 1)
    assert answers == [Phase.REFUSED]


@pytest.mark.parametrize("kind", [FrameType.DATA, FrameType.END])
def test_frames_before_opened_are_an_error(kind: FrameType) -> None:
    side = established(Role.INITIATOR)
    side.core.open_stream("tcp://target:1")
    with pytest.raises(RemoteProtocolError, match="open"):
        side.feed_next(kind, b"", 1)


@pytest.mark.parametrize("text", ["opened", "refused"])
def test_answer_by_the_opener_is_an_error(text: str) -> None:
    side = established(Role.RESPONDER)
    side.feed_next(FrameType.OPEN, open_payload(), 1)
    payload = encode_fields(FrameType.REFUSED, code=8, text="") if text == "refused" else b""
    with pytest.raises(RemoteProtocolError, match=text):
        side.feed_next(FrameType[text.upper()], payload, 1)


# --- forgetting (§8.2.2) --------------------------------------------------------------------


ENDINGS = [
    "near.finish far.finish",
    "near.reset",
    "near.reset far.reset",
    "near.stop far.stop",
    "near.finish near.stop far.finish far.stop",
    "near.finish far.finish far.reset",
    "near.finish far.abort far.stop",
    "near.finish far.stop far.reset",
]
"""Calls that both sides make before a frame of the other one arrives."""


def perform(calls: str, **sides: StreamCore) -> None:
    """Make the calls, each written as side.method."""
    for call in calls.split():
        side, _, method = call.partition(".")
        arguments = () if method == "finish" else (ErrorCode.CANCELLED,)
        getattr(sides[side], method)(*arguments)


@pytest.mark.parametrize("calls", ENDINGS)
def test_closed_streams_leave_no_entry(calls: str) -> None:
    pair = Pair()
    near, far = pair.open()
    perform(calls, near=near, far=far)
    pair.exchange()
    assert (pair.left.core.streams, pair.right.core.streams) == ({}, {})
    assert pair.left.core.is_idle
    assert pair.right.core.is_idle


def test_refused_streams_leave_no_entry() -> None:
    pair = Pair()
    near = pair.left.core.open_stream("tcp://nowhere:1")
    near.offer(b"early")
    pair.exchange()
    pair.right.stream().refuse(ErrorCode.UNKNOWN_TARGET, "no such target")
    pair.exchange()
    assert (pair.left.core.streams, pair.right.core.streams) == ({}, {})
    assert pair.right.core.unaccepted == 0


LATE_FRAMES = [
    (FrameType.STOP, STOP),
    (FrameType.RESET, reset_payload(ResetDirection.RECEIVING)),
    (FrameType.OPENED, b""),
    (FrameType.REFUSED, encode_fields(FrameType.REFUSED, code=8, text="")),
    (FrameType.WINDOW, encode_fields(FrameType.WINDOW, credit=1 << 20)),
]


@pytest.mark.parametrize(("kind", "payload"), LATE_FRAMES)
def test_late_frame_for_closed_stream_is_ignored(kind: FrameType, payload: bytes) -> None:
    side = established(Role.INITIATOR)
    stream = side.core.open_stream("tcp://target:1")
    side.feed_next(FrameType.OPENED, b"", 1)
    stream.finish()
    side.feed_next(FrameType.END, b"", 1)
    side.feed_next(kind, payload, 1)
    assert side.core.is_attached


@pytest.mark.parametrize("kind", [FrameType.DATA, FrameType.END])
def test_data_and_end_of_a_closed_stream_are_errors(kind: FrameType) -> None:
    side = established(Role.INITIATOR)
    stream = side.core.open_stream("tcp://target:1")
    side.feed_next(FrameType.OPENED, b"", 1)
    stream.finish()
    side.feed_next(FrameType.END, b"", 1)
    with pytest.raises(RemoteProtocolError, match="not open"):
        side.feed_next(kind, b"", 1)


@pytest.mark.parametrize("answer", ["accept", "refuse"])
def test_answer_after_the_opener_has_left_harms_nobody(answer: str) -> None:
    pair = Pair()
    near = pair.left.core.open_stream("tcp://target:1")
    pair.exchange()
    near.reset(ErrorCode.OPEN_TIMEOUT)
    pair.exchange()
    far = pair.right.stream()
    far.accept() if answer == "accept" else far.refuse(ErrorCode.UNKNOWN_TARGET, "")
    pair.exchange()
    assert pair.right.core.unaccepted == 0
    assert (pair.left.core.streams, pair.right.core.streams) == ({}, {})


def test_forgotten_stream_gives_its_grown_window_back() -> None:
    pair = Pair()
    near, far = pair.open()
    share = pair.right.core.budget
    for now in (0.0, 0.001):
        far.window.arrive(1)
        far.window.consume(1)
        far.window.update(now, share)
    assert share.held_bytes > 0
    perform("near.finish far.finish", near=near, far=far)
    pair.exchange()
    assert share.held_bytes == 0
