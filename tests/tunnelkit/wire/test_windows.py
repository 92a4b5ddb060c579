"""Credit as arithmetic: invariants, growth by the round trip, shares of the budget (spec §8.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tunnelkit import limits
from tunnelkit.errors import RemoteProtocolError
from tunnelkit.wire.windows import (
    IDLE_TRIPS,
    NEAR_BYTES,
    SHORT_PATH_BYTES,
    BudgetShare,
    ReceiveWindow,
    RoundTrip,
    WindowBudget,
)

INITIAL = limits.INITIAL_STREAM_WINDOW_BYTES
LARGE = 64 * limits.MIB

which = st.integers(0, 5)
counts = st.one_of(st.integers(0, 5 * INITIAL), st.just(LARGE))
waits = st.sampled_from([0.0, 0.001, 0.05, 1.0, 100.0])


class Windows(RuleBasedStateMachine):
    """Windows of three sessions over one budget; peers send when and as much as they like.

    A peer lies with what it can: it holds bytes back, sends dribbles, answers late, and never
    sends what it was granted.
    """

    TOTAL = 64 * INITIAL

    def __init__(self) -> None:
        super().__init__()
        self.budget = WindowBudget(self.TOTAL)
        self.shares = [BudgetShare(self.budget) for _ in range(3)]
        self.trips = [RoundTrip() for _ in range(3)]
        self.windows = [ReceiveWindow(16 * INITIAL) for _ in range(6)]
        self.now = 0.0

    @rule(n=which, count=counts)
    def arrive(self, n: int, count: int) -> None:
        window = self.windows[n]
        if window.arrive(min(count, window.granted - window.received)):
            window.answered(self.now, self.trips[n % 3])

    @rule(n=which, count=counts)
    def consume(self, n: int, count: int) -> None:
        window = self.windows[n]
        window.consume(min(count, window.received - window.consumed))

    @rule(n=which)
    def update(self, n: int) -> None:
        window, before = self.windows[n], self.windows[n].granted
        credit = window.update(self.now, self.shares[n % 3], self.trips[n % 3].seconds)
        assert credit == window.granted >= before

    @rule(n=which, rounds=st.integers(1, 6))
    def rush(self, n: int, rounds: int) -> None:
        """The fastest peer: everything is sent at once, and used at once."""
        for _ in range(rounds):
            self.arrive(n, LARGE)
            self.consume(n, LARGE)
            self.update(n)

    @rule(seconds=waits)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(n=which)
    def close(self, n: int) -> None:
        self.windows[n].close(self.shares[n % 3])
        self.windows[n] = ReceiveWindow(16 * INITIAL)

    @invariant()
    def credit_is_paid_for(self) -> None:
        for window in self.windows:
            assert window.consumed <= window.received <= window.granted
            assert window.granted - window.consumed <= INITIAL + window.charged
            assert INITIAL <= window.size <= 16 * INITIAL

    @invariant()
    def budget_is_never_exceeded(self) -> None:
        held = [sum(w.charged for w in self.windows[n::3]) for n in range(3)]
        assert held == [share.held_bytes for share in self.shares]
        assert self.budget.free_bytes == self.TOTAL - sum(held) >= 0

    def teardown(self) -> None:
        for n in range(6):
            self.close(n)
        assert self.budget.free_bytes == self.TOTAL


TestWindows = Windows.TestCase


def make_share(total_bytes: int = 256 * limits.MIB) -> BudgetShare:
    return BudgetShare(WindowBudget(total_bytes))


def read(window: ReceiveWindow, share: BudgetShare, now: float, trip: float = 0.0) -> None:
    """Receive and use what there is credit for, and announce what that gives."""
    window.arrive(window.granted - window.received)
    window.consume(window.received - window.consumed)
    window.update(now, share, trip)


# --- credit ---------------------------------------------------------------------------------


def test_exact_credit_is_enough() -> None:
    window = ReceiveWindow()
    window.arrive(INITIAL)
    assert window.received == window.granted


@given(st.integers(1, 1 << 64))
def test_bytes_beyond_the_credit_are_an_error(more: int) -> None:
    with pytest.raises(RemoteProtocolError, match="credit"):
        ReceiveWindow().arrive(INITIAL + more)


def test_bytes_beyond_raised_credit_are_an_error() -> None:
    window = ReceiveWindow()
    read(window, make_share(), 0.0)
    with pytest.raises(RemoteProtocolError, match="credit"):
        window.arrive(window.granted - window.received + 1)


def test_arrival_alone_gives_no_credit() -> None:
    window = ReceiveWindow()
    window.arrive(INITIAL)
    assert window.update(0.0, make_share()) == INITIAL


def test_half_a_window_is_worth_announcing() -> None:
    window = ReceiveWindow()
    window.arrive(INITIAL)
    assert not window.consume(INITIAL // 2 - 1)
    assert window.consume(1)


# --- growth ---------------------------------------------------------------------------------


def test_slow_reader_does_not_grow_its_window() -> None:
    window, share = ReceiveWindow(), make_share()
    for second in range(5):
        read(window, share, float(second), trip=0.2)
    assert (window.size, share.held_bytes) == (INITIAL, 0)


def test_window_that_is_used_up_in_a_round_trip_grows_fourfold() -> None:
    window, share = ReceiveWindow(), make_share()
    for number in range(4):
        read(window, share, 0.2 * number, trip=0.2)
    assert window.size == 64 * INITIAL
    assert share.held_bytes == window.charged == 63 * INITIAL


def test_window_that_was_large_enough_once_grows_twofold() -> None:
    window, share = ReceiveWindow(), make_share()
    for now in (0.0, 0.1, 5.0, 5.1):
        read(window, share, now, trip=0.2)
    assert window.size == 8 * INITIAL


def test_window_grows_to_its_maximum_only() -> None:
    window, share = ReceiveWindow(6 * INITIAL), make_share()
    for step in range(10):
        read(window, share, step / 100, trip=0.01)
    assert window.size == 6 * INITIAL


@pytest.mark.parametrize(
    ("trip", "size"),
    [(0.0, NEAR_BYTES), (0.0002, NEAR_BYTES), (0.001, 2_800_000), (0.0029, SHORT_PATH_BYTES)],
)
def test_window_on_a_short_path_grows_no_larger_than_it_needs(trip: float, size: int) -> None:
    window, share = ReceiveWindow(LARGE), make_share()
    for step in range(20):
        read(window, share, step / 1e6, trip)
    assert window.size == size


def test_empty_budget_grows_nothing() -> None:
    window, share = ReceiveWindow(), make_share(INITIAL)
    read(window, share, 1.0)
    read(window, share, 1.01)
    assert (window.size, share.budget.free_bytes) == (INITIAL, INITIAL)


def test_repeated_update_does_not_grow() -> None:
    window, share = ReceiveWindow(), make_share()
    window.update(1.0, share)
    window.update(1.01, share)
    assert (window.size, share.held_bytes) == (INITIAL, 0)


# --- the round trip -------------------------------------------------------------------------


def test_round_trip_is_from_credit_to_the_first_byte_that_needs_it() -> None:
    window, share, trip = ReceiveWindow(), make_share(), RoundTrip()
    window.arrive(INITIAL)
    window.consume(INITIAL)
    window.update(1.0, share)
    assert window.arrive(1)
    window.answered(1.08, trip)
    assert trip.seconds == pytest.approx(0.08)


def test_bytes_that_old_credit_allowed_measure_nothing() -> None:
    window = ReceiveWindow()
    window.arrive(INITIAL // 2)
    window.consume(INITIAL // 2)
    window.update(1.0, make_share())
    assert not window.arrive(INITIAL // 2)


def test_a_peer_that_answers_late_once_gains_nothing() -> None:
    trip = RoundTrip()
    for seconds in (0.9, 0.02, 0.9):
        trip.see(seconds)
    assert trip.seconds == 0.02


def test_longest_round_trip_is_bounded() -> None:
    trip = RoundTrip()
    trip.see(1000.0)
    assert trip.seconds == limits.MAX_ROUND_TRIP_SECONDS


def test_a_peer_that_always_answers_late_keeps_within_its_share() -> None:
    window, share = ReceiveWindow(LARGE), make_share(4 * limits.MIB)
    for step in range(100):
        read(window, share, float(step), trip=limits.MAX_ROUND_TRIP_SECONDS)
    assert share.held_bytes <= share.budget.free_bytes


# --- shares and pressure --------------------------------------------------------------------


def grow(share: BudgetShare, count: int = 1) -> list[ReceiveWindow]:
    """Return windows that have grown as far as their share allows."""
    windows = [ReceiveWindow(LARGE) for _ in range(count)]
    for step in range(12 * count):
        read(windows[step % count], share, step / 1e6, trip=0.01)
    return windows


def test_one_session_leaves_half_of_the_budget() -> None:
    share = make_share(16 * limits.MIB)
    grow(share, 20)
    assert 4 * limits.MIB < share.held_bytes <= 8 * limits.MIB


def test_the_next_session_finds_room() -> None:
    budget = WindowBudget(16 * limits.MIB)
    grow(BudgetShare(budget), 20)
    (window,) = grow(BudgetShare(budget))
    assert window.size >= limits.MIB


def test_session_that_holds_more_than_is_free_shrinks() -> None:
    budget = WindowBudget(16 * limits.MIB)
    first = BudgetShare(budget)
    (window,) = grow(first)
    for _ in range(4):
        grow(BudgetShare(budget), 4)
    before = window.size
    for step in range(4):
        read(window, first, 10 + step / 1000, trip=0.01)
    assert window.size < before
    assert first.held_bytes <= budget.free_bytes


def test_window_that_is_larger_than_needed_shrinks_when_the_budget_is_scarce() -> None:
    budget = WindowBudget(16 * limits.MIB)
    (window,) = grow(share := BudgetShare(budget))
    budget.free_bytes = budget.total_bytes // 4 - 1
    share.held_bytes = window.charged
    before = window.size
    read(window, share, 1000.0, trip=0.2)
    assert window.size < before


def test_credit_that_was_granted_is_charged_until_it_is_used() -> None:
    share = make_share(16 * limits.MIB)
    (window,) = grow(share)
    share.budget.free_bytes, charged = 0, window.charged
    window.arrive(window.size // 4)
    window.consume(window.size // 4)
    window.update(10.0, share)
    assert window.granted - window.consumed - INITIAL <= window.charged < charged


def test_closing_gives_the_growth_back_once() -> None:
    share = make_share()
    (window,) = grow(share)
    window.close(share)
    window.close(share)
    assert share.budget.free_bytes == share.budget.total_bytes


def test_closed_window_is_charged_for_what_is_unread() -> None:
    share = make_share()
    (window,) = grow(share)
    window.close(share, unread=3 * INITIAL)
    assert share.held_bytes == 2 * INITIAL


# --- a path that becomes slower --------------------------------------------------------------


def test_longer_trips_of_an_idle_path_are_believed_after_several() -> None:
    trip = RoundTrip()
    trip.see(0.001)
    seen = []
    for _ in range(IDLE_TRIPS):
        trip.see(0.08, was_idle=True)
        seen.append(trip.seconds)
    assert seen == [0.001] * (IDLE_TRIPS - 1) + [0.08]


def test_longer_trips_beside_what_is_under_way_are_not_believed() -> None:
    trip = RoundTrip()
    for seconds in [0.001] + [0.08] * 100:
        trip.see(seconds)
    assert trip.seconds == 0.001


def test_stream_behind_a_path_that_became_slow_grows_its_window() -> None:
    window, share, trip, now = ReceiveWindow(), BudgetShare(WindowBudget(LARGE)), RoundTrip(), 0.0
    trip.see(0.0001)
    for _ in range(IDLE_TRIPS + 3):
        if window.arrive(window.granted - window.received):
            window.answered(now, trip)
        window.consume(window.received - window.consumed)
        window.update(now, share, trip.seconds)
        now += 0.08
    assert window.size > INITIAL
