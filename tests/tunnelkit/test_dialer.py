"""Dialling again: how long to wait, when to hurry, and when to stop."""

from __future__ import annotations

import time

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tunnelkit import dialer
from tunnelkit.addresses import Address
from tunnelkit.dialer import is_final, keep_link, next_delay, sleep_unless_clock_jumps
from tunnelkit.errors import ErrorCode, LinkError, LinkLost, LinkRefused

ADDRESS = Address("memory", "broker", 1)

TABLE = {1: 0.05, 2: 0.1, 3: 0.2, 4: 0.4, 5: 0.8, 6: 1.6, 7: 3.2, 8: 5.0, 9: 5.0, 10_000: 5.0}


@pytest.mark.parametrize("failures", TABLE)
def test_longest_delay_after_so_many_failures(failures: int) -> None:
    assert next_delay(failures, 1.0) == pytest.approx(TABLE[failures])


@given(failures=st.integers(1, 10**6), chance=st.floats(0, 1))
def test_half_of_the_delay_is_jitter(failures: int, chance: float) -> None:
    full = next_delay(failures, 1.0)
    assert full / 2 <= next_delay(failures, chance) <= full <= dialer.MAX_DELAY_SECONDS


@given(failures=st.integers(1, 100), chance=st.floats(0, 1))
def test_delay_grows_with_failures(failures: int, chance: float) -> None:
    assert next_delay(failures, chance) <= next_delay(failures + 1, chance)


def test_only_displacement_is_final() -> None:
    for code in ErrorCode:
        assert is_final(LinkRefused(code, "")) is (code == ErrorCode.DISPLACED)
    assert not is_final(LinkLost("gone"))


class Dialled:
    """Holds links for as long as it is told, and remembers when it was asked."""

    def __init__(self, *outcomes: tuple[float, LinkError]) -> None:
        self.outcomes = list(outcomes)
        self.times: list[float] = []
        self.reports: list[str] = []

    async def hold(self, address: Address) -> LinkError:
        self.times.append(trio.current_time())
        if not self.outcomes:
            await trio.sleep_forever()
        seconds, error = self.outcomes.pop(0)
        await trio.sleep(seconds)
        if seconds:
            return error
        raise error

    def report(self, address: Address, error: LinkError) -> None:
        self.reports.append(str(error))

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


async def run(dialled: Dialled, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await keep_link(ADDRESS, dialled.hold, dialled.report)


async def test_failures_in_a_row_slow_it_down(autojump_clock: MockClock) -> None:
    dialled = Dialled(*[(0, LinkLost("no"))] * 12)
    await run(dialled, 60)
    for failures, gap in enumerate(dialled.gaps, start=1):
        assert next_delay(failures, 0) <= gap <= next_delay(failures, 1) + 1e-6
    assert dialled.reports == ["no"] * 12


async def test_good_link_makes_the_next_delay_short(autojump_clock: MockClock) -> None:
    dialled = Dialled(*[(0, LinkLost("no"))] * 9, (60, LinkLost("lost")), (0, LinkLost("no")))
    await run(dialled, 300)
    assert dialled.gaps[8] > 2
    assert dialled.gaps[9] <= 60 + dialer.FIRST_DELAY_SECONDS


async def test_link_that_fails_at_once_is_no_good_link(autojump_clock: MockClock) -> None:
    dialled = Dialled(*[(0.5, LinkLost("short"))] * 9)
    await run(dialled, 300)
    assert dialled.gaps[7] > 0.5 + 2.5


async def test_refusal_slows_it_down(autojump_clock: MockClock) -> None:
    refused = LinkRefused(ErrorCode.TOKEN_EXPIRED, "expired")
    dialled = Dialled((0, refused), (0, refused))
    await run(dialled, 100)
    assert dialled.gaps == pytest.approx([dialer.REFUSED_DELAY_SECONDS] * 2)


@pytest.mark.parametrize(("asked", "waited"), [(20.0, 20.0), (1e9, dialer.MAX_RETRY_AFTER_SECONDS)])
async def test_peer_that_asks_for_time_gets_it(
    asked: float, waited: float, autojump_clock: MockClock
) -> None:
    error = LinkLost("shutting down")
    error.retry_after_seconds = asked
    dialled = Dialled((0, error))
    await run(dialled, 100)
    assert dialled.gaps == pytest.approx([waited])


async def test_displaced_stops(autojump_clock: MockClock) -> None:
    dialled = Dialled((0, LinkRefused(ErrorCode.DISPLACED, "another process")))
    await run(dialled, 100)
    assert len(dialled.times) == 1
    assert trio.current_time() - dialled.times[0] < 1
    assert "displaced" in dialled.reports[0]


@pytest.fixture
def lid(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A wall clock that goes with Trio's; `ahead` is what the machine has slept."""
    state = {"ahead": 0.0}
    monkeypatch.setattr(time, "time", lambda: 1e9 + trio.current_time() + state["ahead"])
    return state


async def test_clock_jump_ends_the_wait(autojump_clock: MockClock, lid: dict[str, float]) -> None:
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep_unless_clock_jumps, 100)
        await trio.sleep(10.1)
        lid["ahead"] = 3600
    assert trio.current_time() - began <= 10.1 + 0.5


async def test_clock_jump_ends_the_wait_after_a_refusal(
    autojump_clock: MockClock, lid: dict[str, float]
) -> None:
    dialled = Dialled((0, LinkRefused(ErrorCode.TOKEN_EXPIRED, "expired")))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, dialled, 20)
        await trio.sleep(3)
        lid["ahead"] = 3600
    assert dialled.gaps[0] < 4


async def test_small_corrections_of_the_clock_do_not_end_the_wait(
    autojump_clock: MockClock, lid: dict[str, float]
) -> None:
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep_unless_clock_jumps, 10)
        await trio.sleep(3)
        lid["ahead"] = 1.5
        await trio.sleep(3)
        lid["ahead"] = -3600
    assert trio.current_time() - began == pytest.approx(10)


async def test_wait_is_as_long_as_it_was_asked_for(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await sleep_unless_clock_jumps(1.3)
    assert trio.current_time() - began == pytest.approx(1.3)
