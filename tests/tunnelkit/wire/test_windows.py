"""Credit as arithmetic: the invariant, growth within the budget, overflow (spec §8.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tunnelkit import limits
from tunnelkit.errors import RemoteProtocolError
from tunnelkit.wire.windows import ReceiveWindow, WindowBudget

INITIAL = limits.INITIAL_STREAM_WINDOW_BYTES


class Windows(RuleBasedStateMachine):
    """Windows of several streams over one budget, used in any order."""

    TOTAL = 8 * INITIAL

    def __init__(self) -> None:
        super().__init__()
        self.budget = WindowBudget(self.TOTAL)
        self.windows = [ReceiveWindow(4 * INITIAL) for _ in range(4)]
        self.now = 0.0

    @rule(which=st.integers(0, 3), count=st.integers(0, 5 * INITIAL))
    def arrive(self, which: int, count: int) -> None:
        window = self.windows[which]
        window.arrive(min(count, window.granted - window.received))

    @rule(which=st.integers(0, 3), count=st.integers(0, 5 * INITIAL))
    def consume(self, which: int, count: int) -> None:
        window = self.windows[which]
        window.consume(min(count, window.received - window.consumed))

    @rule(which=st.integers(0, 3), later=st.sampled_from([0.0, 0.01, 1.0]))
    def update(self, which: int, later: float) -> None:
        self.now += later
        window, before = self.windows[which], self.windows[which].granted
        assert window.update(self.now, self.budget) == window.granted >= before

    @rule(which=st.integers(0, 3))
    def close(self, which: int) -> None:
        self.windows[which].close(self.budget)
        self.windows[which] = ReceiveWindow(4 * INITIAL)

    @invariant()
    def credit_is_bounded_by_the_window(self) -> None:
        for window in self.windows:
            assert window.consumed <= window.received <= window.granted
            assert window.granted <= window.consumed + window.size
            assert INITIAL <= window.size <= 4 * INITIAL

    @invariant()
    def budget_holds_what_windows_do_not(self) -> None:
        grown = sum(window.size - INITIAL for window in self.windows)
        assert self.budget.free_bytes == self.TOTAL - grown >= 0


TestWindows = Windows.TestCase


def test_exact_credit_is_enough() -> None:
    window = ReceiveWindow()
    window.arrive(INITIAL)
    assert window.received == window.granted


@given(st.integers(1, 1 << 64))
def test_bytes_beyond_the_credit_are_an_error(more: int) -> None:
    with pytest.raises(RemoteProtocolError, match="credit"):
        ReceiveWindow().arrive(INITIAL + more)


def test_arrival_alone_gives_no_credit() -> None:
    window = ReceiveWindow()
    window.arrive(INITIAL)
    assert window.update(0.0, WindowBudget(0)) == INITIAL


def test_half_a_window_is_worth_announcing() -> None:
    window = ReceiveWindow()
    window.arrive(INITIAL)
    assert not window.consume(INITIAL // 2 - 1)
    assert window.consume(1)


def test_slow_reader_does_not_grow_its_window() -> None:
    window, budget = ReceiveWindow(), WindowBudget(limits.MIB)
    for second in range(5):
        window.update(float(second), budget)
    assert window.size == INITIAL


def read_half(window: ReceiveWindow, now: float, budget: WindowBudget) -> None:
    """Receive and use half of the window, and announce what that gives."""
    window.arrive(window.size // 2)
    assert window.consume(window.size // 2)
    window.update(now, budget)


def test_fast_reader_doubles_its_window() -> None:
    window, budget = ReceiveWindow(), WindowBudget(limits.MIB)
    read_half(window, 1.0, budget)
    read_half(window, 1.01, budget)
    assert (window.size, budget.free_bytes) == (2 * INITIAL, limits.MIB - INITIAL)


def test_empty_budget_grows_nothing() -> None:
    window, budget = ReceiveWindow(), WindowBudget(INITIAL - 1)
    read_half(window, 1.0, budget)
    read_half(window, 1.01, budget)
    assert (window.size, budget.free_bytes) == (INITIAL, INITIAL - 1)


def test_window_grows_to_its_maximum_only() -> None:
    window, budget = ReceiveWindow(3 * INITIAL), WindowBudget(limits.MIB)
    for step in range(10):
        read_half(window, step / 100, budget)
    assert window.size == 3 * INITIAL


def test_window_that_is_not_used_does_not_grow() -> None:
    window, budget = ReceiveWindow(), WindowBudget(limits.MIB)
    window.update(1.0, budget)
    window.update(1.01, budget)
    assert (window.size, budget.free_bytes) == (INITIAL, limits.MIB)


def test_closing_twice_gives_back_once() -> None:
    window, budget = ReceiveWindow(), WindowBudget(limits.MIB)
    read_half(window, 1.0, budget)
    read_half(window, 1.01, budget)
    window.close(budget)
    window.close(budget)
    assert budget.free_bytes == limits.MIB
