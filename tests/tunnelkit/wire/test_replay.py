"""The window of unacknowledged bytes: rounds, growth by what a path carries, shares (spec §7.7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit import limits
from tunnelkit.wire.replay import ReplayWindow
from tunnelkit.wire.windows import BudgetShare, RoundTrip, WindowBudget

INITIAL = 4 * limits.MIB
NO_CAP = 1 << 32


def make_window(total_bytes: int = 256 * limits.MIB) -> ReplayWindow:
    return ReplayWindow(INITIAL, BudgetShare(WindowBudget(total_bytes)), RoundTrip())


def carry(window: ReplayWindow, now: float, count: int, cap: int = NO_CAP) -> bool:
    """End a round at *now* in which so many bytes were acknowledged."""
    window.acknowledged_bytes += count
    return window.end_round(now, 0, cap)


def test_rounds_that_carry_more_and_more_make_four_times_as_much() -> None:
    window = make_window()
    carry(window, 0.0, 0)
    assert carry(window, 0.2, 3 * limits.MIB)
    assert window.size == 12 * limits.MIB


def test_rounds_that_carry_the_same_make_twice_as_much() -> None:
    window = make_window()
    carry(window, 0.0, 0)
    carry(window, 0.2, limits.MIB)
    carry(window, 0.4, 3 * limits.MIB)
    carry(window, 0.6, 3 * limits.MIB)
    assert window.size == 12 * limits.MIB


def test_rounds_that_wait_in_a_queue_make_no_more() -> None:
    window = make_window()
    for step in range(3):
        carry(window, 0.1 * step, limits.MIB)
    for step in range(1, 6):
        carry(window, 0.2 + step, 10 * limits.MIB)
    assert window.size == INITIAL


@pytest.mark.parametrize("round_trip", [0.0001, 0.001])
def test_short_paths_need_no_more(round_trip: float) -> None:
    window = make_window()
    for step in range(10):
        carry(window, step * round_trip, INITIAL)
    assert window.size == INITIAL


def test_window_grows_to_the_cap_of_the_path_only() -> None:
    window = make_window()
    for step in range(10):
        carry(window, step * 0.2, window.size, cap=6 * limits.MIB)
    assert window.size == 6 * limits.MIB


def test_window_grows_to_its_maximum_only() -> None:
    window = make_window(1 << 40)
    for step in range(20):
        carry(window, step * 0.2, window.size)
    assert window.size == limits.MAX_SESSION_WINDOW_BYTES


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 1 << 27)), max_size=30))
def test_whatever_is_acknowledged_the_budget_holds(rounds: list[tuple[float, int]]) -> None:
    budget, now = WindowBudget(64 * limits.MIB), 0.0
    windows = [ReplayWindow(INITIAL, BudgetShare(budget), RoundTrip()) for _ in range(3)]
    for number, (seconds, count) in enumerate(rounds):
        now += seconds
        carry(windows[number % 3], now, count)
        assert budget.free_bytes == budget.total_bytes - sum(w.charged for w in windows) >= 0
        assert all(w.size <= INITIAL + w.charged for w in windows)
    for window in windows:
        window.close()
    assert budget.free_bytes == budget.total_bytes


def test_a_peer_that_acknowledges_no_more_keeps_what_it_has() -> None:
    share = BudgetShare(WindowBudget(16 * limits.MIB))
    window = ReplayWindow(INITIAL, share, RoundTrip())
    for step in range(10):
        carry(window, step * 0.2, window.size)
    assert share.held_bytes == window.charged <= share.budget.free_bytes


def test_window_shrinks_when_others_have_come() -> None:
    window = make_window()
    for step in range(6):
        carry(window, step * 0.2, window.size)
    share = window._share
    share.budget.free_bytes = share.held_bytes - 1
    before = window.size
    window.end_round(10.0, 0, NO_CAP)
    assert INITIAL <= window.size < before


def test_bytes_under_way_are_charged_after_shrinking() -> None:
    window = make_window()
    for step in range(6):
        carry(window, step * 0.2, window.size)
    share, charged = window._share, window.charged
    share.budget.free_bytes = share.held_bytes - 1
    window.end_round(10.0, window.size, NO_CAP)
    assert window.charged == charged


def test_another_path_is_measured_anew() -> None:
    window = make_window()
    carry(window, 0.0, 0)
    carry(window, 0.2, limits.MIB)
    window.restart(7)
    assert (window.round_trip.seconds, window.ends_with) == (0.0, 7)
    assert not carry(window, 5.0, 60 * limits.MIB)
