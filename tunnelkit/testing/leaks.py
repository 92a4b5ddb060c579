"""Assert that a block leaves nothing behind: no task, descriptor, timer or use of the pump."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from tunnelkit.pump import Pump, Timer, current_pump

__all__ = ["no_leaks"]

SETTLE_ROUNDS: Final = 5
"""How often to wait until all other tasks sleep before what is left counts as left behind."""

_DESCRIPTORS: Final = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class _Inventory:
    """What exists at one moment; the objects themselves, so that no identity is used again."""

    tasks: set[trio.lowlevel.Task]
    descriptors: dict[str, str]
    timers: set[Timer]
    references: int

    def added_since(self, before: _Inventory) -> list[str]:
        """Name what is here and was not there *before*."""
        added = [_describe_task(task) for task in self.tasks - before.tasks]
        for number, target in self.descriptors.items():
            if before.descriptors.get(number) != target:
                added.append(f"descriptor {number}: {target}")
        added += [f"timer: {timer.callback!r}" for timer in self.timers - before.timers]
        more = self.references - before.references
        return added + ([f"{more} reference(s) to the pump, never released"] if more > 0 else [])


@asynccontextmanager
async def no_leaks() -> AsyncGenerator[None]:
    """Check when the block is left that everything begun in it has ended.

    Other tasks get a little time to end, none of it by the clock.  Where the block raises, that
    error goes on and nothing is checked.

    Raises:
        AssertionError: something is left; the text names it.
    Cancellation: keeps; nothing is checked.
    """
    before = _take_inventory()
    yield
    left = await _left_behind(before)
    if left:
        raise AssertionError("left behind:\n" + "\n".join(f"  {line}" for line in sorted(left)))


async def _left_behind(before: _Inventory) -> list[str]:
    from trio.testing import wait_all_tasks_blocked

    left: list[str] = []
    for _ in range(SETTLE_ROUNDS):
        await wait_all_tasks_blocked()
        left = _take_inventory().added_since(before)
        if not left:
            break
    return left


def _take_inventory() -> _Inventory:
    pump = current_pump()
    return _Inventory(
        tasks=set(_all_tasks()),
        descriptors=dict(_descriptors()),
        timers=set(_live_timers(pump)),
        references=pump.references if pump is not None else 0,
    )


def _all_tasks() -> Iterator[trio.lowlevel.Task]:
    """Yield every task of the run, system tasks included."""
    root = trio.lowlevel.current_root_task()
    waiting = [root] if root is not None else []
    while waiting:
        task = waiting.pop()
        yield task
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)


def _descriptors() -> Iterator[tuple[str, str]]:
    """Yield the number and target of each open descriptor; none where the system lists none."""
    if _DESCRIPTORS.is_dir():
        for number in os.listdir(_DESCRIPTORS):
            try:
                yield number, os.readlink(_DESCRIPTORS / number)
            except OSError:
                pass  # the descriptor of this very listing is closed by now


def _live_timers(pump: Pump | None) -> list[Timer]:
    return pump.waiting_timers() if pump is not None else []


def _describe_task(task: trio.lowlevel.Task) -> str:
    """Name a task, and where it waits."""
    where = ""
    for frame, line in task.iter_await_frames():
        if "/trio/" not in frame.f_code.co_filename:
            where = f", waiting in {frame.f_code.co_qualname} (line {line})"
    return f"task {task.name}{where}"
