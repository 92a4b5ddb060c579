"""A peer that lies about time, or takes and does not give: it gains nothing, others lose nothing.

`Sink.room` is what the program behind the stream takes; the test plays the peer, and the clock.
"""

from __future__ import annotations

from tests.tunnelkit.wire.fakes import (
    NO_SHARE,
    NO_SIGNATURE,
    FakeEnd,
    FakeOutlet,
    FakeOwner,
    Side,
    session_open,
)
from tunnelkit import limits
from tunnelkit.wire.frames import FrameType, Role, encode_fields, encode_open
from tunnelkit.wire.session import SessionCore
from tunnelkit.wire.stream import StreamCore
from tunnelkit.wire.windows import Budgets, WindowBudget

INITIAL = limits.INITIAL_STREAM_WINDOW_BYTES
BUDGET = 16 * limits.MIB


def make_budgets() -> Budgets:
    return Budgets(streams=WindowBudget(BUDGET), replay=WindowBudget(BUDGET))


class Peer:
    """The peer of one session, with one stream on which it sends."""

    def __init__(self, budgets: Budgets) -> None:
        owner = FakeOwner()
        owner.core = core = SessionCore(owner, Role.RESPONDER, budgets=budgets)
        self.side = Side(core, owner, FakeOutlet())
        core.attach(self.side.outlet, 1)
        core.attached(1, 0, 1 << 30)
        self.side.feed_next(FrameType.SESSION_OPEN, session_open(Role.INITIATOR))
        core.send_session_open(NO_SHARE, b"token", NO_SIGNATURE)
        self.side.feed_next(FrameType.OPEN, encode_open("target", ()), 1)
        self.stream: StreamCore = owner.offered[0]
        self.sink = FakeEnd()
        self.stream.sink = self.sink
        self.stream.accept()
        self.now = 0.0

    @property
    def held(self) -> int:
        """What the session holds of the budget for streams."""
        return self.side.core.budget.held_bytes

    @property
    def credit(self) -> int:
        """What it may still send."""
        return self.stream.window.granted - self.stream.window.received

    def send(self, count: int, frame: int = limits.MAX_PAYLOAD_BYTES) -> None:
        count = min(count, self.credit)
        while count > 0:
            self.side.feed_next(FrameType.DATA, bytes(min(count, frame)), 1)
            count -= frame

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.side.core.write_state(self.now)
        self.side.outlet.written.clear()

    def rush(self, rounds: int, seconds: float = 0.01) -> None:
        """Send all that is allowed, again and again."""
        for _ in range(rounds):
            self.send(1 << 30)
            self.wait(seconds)


def test_a_peer_that_holds_its_bytes_back_gets_the_initial_window() -> None:
    peer = Peer(make_budgets())
    peer.rush(20, seconds=10 * limits.MAX_ROUND_TRIP_SECONDS)
    assert (peer.stream.window.size, peer.held) == (INITIAL, 0)


def test_a_peer_that_dribbles_gets_the_initial_window() -> None:
    peer = Peer(make_budgets())
    for _ in range(1000):
        peer.send(100, frame=1)
        peer.wait(0.02)
    assert (peer.stream.window.size, peer.held) == (INITIAL, 0)


def test_a_peer_that_feigns_distance_keeps_within_its_share() -> None:
    peer = Peer(make_budgets())
    peer.rush(40, seconds=limits.MAX_ROUND_TRIP_SECONDS)
    assert peer.held <= BUDGET // 2


def test_a_peer_that_nobody_reads_gets_the_initial_window() -> None:
    peer = Peer(make_budgets())
    peer.sink.room = 0
    peer.rush(20)
    assert len(peer.stream.inbox) == INITIAL
    assert peer.held == 0


def test_a_peer_that_is_read_no_more_fills_what_it_was_granted() -> None:
    peer = Peer(make_budgets())
    peer.rush(20)
    peer.sink.room = 0
    peer.rush(20)
    assert len(peer.stream.inbox) <= INITIAL + peer.held
    assert peer.held <= BUDGET // 2


def test_peers_that_took_what_they_could_leave_room_for_the_next() -> None:
    budgets = make_budgets()
    greedy = [Peer(budgets) for _ in range(3)]
    for peer in greedy:
        peer.rush(20)
    late = Peer(budgets)
    late.rush(20)
    assert late.stream.window.size >= 4 * INITIAL


def test_unread_bytes_are_held_after_the_end() -> None:
    peer = Peer(make_budgets())
    peer.rush(20)
    peer.sink.room = 0
    peer.rush(1)
    peer.side.feed_next(FrameType.END, b"", 1)
    peer.stream.finish()
    assert peer.held == len(peer.stream.inbox) - INITIAL
    peer.sink.room = 1 << 40
    peer.stream.resume()
    assert peer.held == 0


def test_unread_bytes_that_are_dropped_are_held_no_more() -> None:
    peer = Peer(make_budgets())
    peer.rush(20)
    peer.sink.room = 0
    peer.rush(1)
    peer.stream.stop(0)
    assert peer.held == 0


def test_session_that_ends_gives_everything_back() -> None:
    budgets = make_budgets()
    peer = Peer(budgets)
    peer.rush(20)
    peer.side.core.end(0, "over")
    assert budgets.streams.free_bytes == budgets.replay.free_bytes == BUDGET


def test_a_peer_that_acknowledges_nothing_gets_the_default() -> None:
    peer = Peer(make_budgets())
    peer.side.feed_next(FrameType.WINDOW, encode_fields(FrameType.WINDOW, credit=1 << 40), 1)
    peer.stream.offer(bytes(limits.MAX_SESSION_WINDOW_BYTES))
    peer.rush(20)
    core = peer.side.core
    assert core.unacknowledged <= limits.DEFAULT_SESSION_WINDOW_BYTES
    assert core.window.charged == 0
