"""`cancel_at_each_step` cancels a call at each of its steps once."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tunnelkit.testing import Attempt, cancel_at_each_step


class Counter:
    """Counts how far it got, with a pause before each step."""

    def __init__(self) -> None:
        self.reached: list[int] = []

    async def run(self) -> str:
        self.reached.append(0)
        for _ in range(3):
            await trio.sleep(1)
            self.reached[-1] += 1
        return "done"


async def test_every_step_is_cancelled_once(autojump_clock: trio.testing.MockClock) -> None:
    counter = Counter()
    # Once before the first pause, then as each pause ends: a sleep can be cancelled there as well.
    assert await cancel_at_each_step(counter.run) == 4
    assert counter.reached == [0, 0, 1, 2, 3]


async def test_works_under_the_real_clock() -> None:
    async def call() -> None:
        await trio.lowlevel.checkpoint()

    assert await cancel_at_each_step(call) == 2


async def test_check_learns_how_each_run_ended(autojump_clock: trio.testing.MockClock) -> None:
    attempts: list[Attempt[str]] = []
    await cancel_at_each_step(Counter().run, check=attempts.append)
    assert [attempt.cancelled for attempt in attempts] == [True, True, True, True, False]
    assert [attempt.value for attempt in attempts] == [None, None, None, None, "done"]


async def test_check_may_be_asynchronous(autojump_clock: trio.testing.MockClock) -> None:
    checked = 0

    async def check(attempt: Attempt[str]) -> None:
        nonlocal checked
        await trio.sleep(1)
        checked += 1

    await cancel_at_each_step(Counter().run, check=check)
    assert checked == 5


async def test_shielded_pauses_are_passed(autojump_clock: trio.testing.MockClock) -> None:
    async def call() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
            await trio.sleep(1)
        await trio.sleep(1)

    assert await cancel_at_each_step(call) == 4


async def test_failed_check_says_at_which_step(autojump_clock: trio.testing.MockClock) -> None:
    def check(attempt: Attempt[str]) -> None:
        assert attempt.step < 2

    with pytest.raises(AssertionError) as info:
        await cancel_at_each_step(Counter().run, check=check)
    assert info.value.__notes__ == ["the call was to be cancelled at step 2"]


async def test_endless_call_is_given_up() -> None:
    async def call() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="does it ever end"):
        await cancel_at_each_step(call, limit=5)


async def test_cancellation_from_outside_gets_through(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.move_on_after(2.5) as scope:
        await cancel_at_each_step(Counter().run)
    assert scope.cancelled_caught
