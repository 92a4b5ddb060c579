"""How far a run has come: the bar of one scenario, and the line of all of them below it.

`everything` says which scenario runs and what is still to come; a scenario opens its progress
with `open_progress` and need not know whether it runs alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

__all__ = ["Overall", "format_left", "open_progress", "within"]


@dataclass(frozen=True, slots=True)
class Overall:
    """Where the scenario that runs now stands among all of them."""

    number: int
    count: int
    seconds: float
    """What this scenario takes, as far as one can tell before."""
    seconds_after: float
    """What those after it take."""
    started: float = field(default_factory=time.monotonic)

    def passed(self) -> float:
        """Return for how many seconds the scenario has run."""
        return time.monotonic() - self.started

    def seconds_left(self, share: float, passed: float) -> float:
        """Return what is left of everything when *share* (0 to 1) of this scenario is done.

        The share of a scenario says more than the guess of its length, once some of it is done.
        """
        if share >= 0.1:
            return passed / share * (1 - share) + self.seconds_after
        return max(0.0, self.seconds - passed) + self.seconds_after

    def words(self, share: float) -> str:
        """Say how far everything is."""
        left = format_left(self.seconds_left(share, self.passed()))
        return f"scenario {self.number} of {self.count}, {left} left of everything"


def format_left(seconds: float) -> str:
    """Return a time as one says it: "about 12 min"; below two minutes in seconds."""
    return f"about {seconds / 60:.0f} min" if seconds >= 119.5 else f"about {seconds:.0f} s"


_overall: ContextVar[Overall | None] = ContextVar("overall", default=None)


@contextmanager
def within(overall: Overall) -> Iterator[None]:
    """Let whatever opens a progress in this block show *overall* below its own."""
    token = _overall.set(overall)
    try:
        yield
    finally:
        _overall.reset(token)


class _Progress(Progress):
    """A progress with the line of all scenarios below it, where there is one."""

    overall: Overall | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return what is shown, several times a second."""
        yield self.make_tasks_table(self.tasks)
        if self.overall is not None:
            shares = [task.completed / task.total for task in self.tasks if task.total]
            share = min(shares, default=0.0)
            yield Text(self.overall.words(share), style="dim")


def open_progress(console: Console) -> Progress:
    """Return the progress of a scenario, to be opened by `with`; it vanishes at its end."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    progress = _Progress(*columns, console=console, transient=True)
    progress.overall = _overall.get()
    return progress
