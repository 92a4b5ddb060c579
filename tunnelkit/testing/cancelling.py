"""Cancel an asynchronous call at each of its steps in turn."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

__all__ = ["Attempt", "cancel_at_each_step"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """One run of the call."""

    step: int
    """At which step it was to be cancelled; 0 is before it began."""
    cancelled: bool
    """Whether the cancellation ended it; otherwise `value` is what it returned."""
    value: T | None


class _CancelAtStep(trio.abc.Instrument):
    """Cancels the scope when the task is resumed for the n-th time."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self.steps_left = step
        self._scope = scope
        self._task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task and self.steps_left:
            self.steps_left -= 1
            if not self.steps_left:
                self._scope.cancel()


async def cancel_at_each_step(
    make_call: Callable[[], Awaitable[T]],
    *,
    check: Callable[[Attempt[T]], object] | None = None,
    limit: int = 1000,
) -> int:
    """Run a call again and again, cancelled one step later each time, until it is over before that.

    The first run is cancelled before it begins, the next when its task is resumed for the first
    time, and so on.  So each pause meets a cancellation that is there already, and each wake-up
    one that comes at the same moment.  No clock is involved.

    Args:
        make_call: begins the call anew, with whatever it needs; awaited in this task.
        check: called after each run, outside of the cancelled scope; may be asynchronous.
        limit: how many runs are too many.

    Returns:
        How many runs a cancellation ended.

    Raises:
        AssertionError: the call was not over within *limit* runs.
        Exception: what a run or a check raised, with a note that says at which step.
    Cancellation: breaks; the run under way is cancelled, no check follows.
    """
    cancelled = 0
    for step in range(limit):
        try:
            attempt, reached = await _attempt(make_call, step)
            cancelled += attempt.cancelled
            if check is not None:
                checked = check(attempt)
                if inspect.isawaitable(checked):
                    await checked
        except Exception as error:
            error.add_note(f"the call was to be cancelled at step {step}")
            raise
        if not reached:
            return cancelled
    raise AssertionError(f"the call still pauses at its step {limit}: does it ever end?")


async def _attempt(make_call: Callable[[], Awaitable[T]], step: int) -> tuple[Attempt[T], bool]:
    """Run the call once; return how it ended, and whether it lasted until *step*."""
    value: T | None = None
    with trio.CancelScope() as scope:
        instrument = _CancelAtStep(step, scope)
        trio.lowlevel.add_instrument(instrument)
        if step == 0:
            scope.cancel()
        try:
            value = await make_call()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return Attempt(step, scope.cancelled_caught, value), instrument.steps_left == 0
