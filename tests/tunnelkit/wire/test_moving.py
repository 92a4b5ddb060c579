"""A core that moves while the attachment before it still delivers (spec §7.9)."""

from __future__ import annotations

import pytest

from tests.tunnelkit.wire.fakes import FakeEnd, FakeOutlet, Pair
from tunnelkit.errors import ErrorCode, RemoteProtocolError, SessionError
from tunnelkit.wire.frames import FrameType, encode_fields

CAP = 1 << 30


class Move:
    """A pair with a stream, whose left side moves with *data* still under way."""

    def __init__(self, data: bytes, *, hold: bool = True) -> None:
        self.pair = Pair()
        self.sink = FakeEnd()
        self.stream = self.pair.open(self.sink)[0]
        if data:
            self.stream.offer(data)
        self.left, self.right = self.pair.left, self.pair.right
        self.before, self.left.outlet = self.left.outlet, FakeOutlet()
        core, peer = self.left.core, self.right.core
        core.take_generation()
        generation = peer.take_generation()
        core.moved(self.left.outlet, 3, generation, peer.received, CAP, hold=hold)

    def deliver_before(self) -> None:
        """Let arrive what was under way on the attachment before."""
        for frame in self.before.written:
            self.right.feed(frame)
        self.before.written.clear()


def test_new_frames_wait_for_those_under_way() -> None:
    move = Move(b"one")
    move.stream.offer(b"two")
    assert move.left.outlet.types() == []
    move.deliver_before()
    move.pair.exchange()
    move.stream.offer(b"two")
    move.pair.exchange()
    assert move.sink.data == b"onetwo"


def test_nothing_is_sent_twice_when_all_arrives() -> None:
    move = Move(b"one")
    move.deliver_before()
    move.pair.exchange()
    assert move.left.core.replayed_bytes == 0
    assert not move.left.core.is_held


def test_release_replays_what_did_not_arrive() -> None:
    move = Move(b"one")
    move.before.written.clear()
    move.left.core.release()
    move.pair.exchange()
    assert move.sink.data == b"one"
    assert move.left.core.replayed_bytes == 3


def test_what_arrives_on_both_ways_is_taken_once() -> None:
    move = Move(b"one", hold=False)
    move.deliver_before()
    move.pair.exchange()
    assert move.sink.data == b"one"
    assert move.right.core.duplicate_frames == 1


def test_a_move_with_nothing_under_way_holds_nothing() -> None:
    move = Move(b"")
    move.stream.offer(b"two")
    assert move.left.outlet.types()[-1:] == [FrameType.DATA]


def test_a_lost_link_ends_the_hold() -> None:
    move = Move(b"one")
    move.left.core.detached()
    assert not move.left.core.is_held


def test_a_peer_that_spoke_before_its_last_acks_is_believed() -> None:
    pair = Pair()
    spoken = pair.right.core.received
    stream = pair.open()[0]
    stream.offer(b"one")
    pair.exchange()
    left, outlet = pair.left.core, FakeOutlet()
    left.check_peer(9, spoken)
    left.moved(outlet, 3, 9, spoken, CAP, hold=True)
    stream.offer(b"two")
    assert outlet.types() == [FrameType.DATA]


def test_a_peer_that_has_forgotten_is_found_by_its_first_ack() -> None:
    pair = Pair()
    spoken = pair.right.core.received
    pair.open()[0].offer(b"one")
    pair.exchange()
    pair.left.core.moved(FakeOutlet(), 3, 9, spoken, CAP, hold=True)
    with pytest.raises(RemoteProtocolError, match="had") as caught:
        pair.left.feed_next(FrameType.ACK, encode_fields(FrameType.ACK, received=0))
    assert caught.value.code == ErrorCode.STATE_LOST


@pytest.mark.parametrize("received", [0, 1 << 40])
def test_a_move_to_impossible_numbers_is_refused(received: int) -> None:
    pair = Pair()
    pair.attach()
    with pytest.raises(SessionError) as caught:
        pair.left.core.check_peer(99, received)
    assert caught.value.code == ErrorCode.STATE_LOST
