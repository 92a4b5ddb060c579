"""Judges counts against stored ones (no I/O).

A count may differ by its tolerance in either direction.  Fewer is red as well: the gain has to be
stored, or it can be lost again unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["Figures", "Finding", "State", "compare", "cost_warnings"]

Figures = Mapping[str, Mapping[str, float]]
"""From a load to its counts for one unit."""

TOLERANCE: Final = 0.10
"""Loads in lock-step repeat within 1 %; the rest is for other kernels, whose buffers differ."""

BY_PYTHON: Final = frozenset({"python_calls"})
"""Counts that depend on the version of Python: under another one they only warn."""


COST_TOLERANCE: Final = 0.25
"""Ratios of times only warn, and not for less than this; they repeat within a tenth."""


class State(StrEnum):
    """What became of a count."""

    OK = "ok"
    MORE = "more"
    FEWER = "fewer"
    NEW = "not stored"
    GONE = "not counted"


@dataclass(frozen=True, slots=True)
class Finding:
    """One count, as it was stored and as it is now."""

    load: str
    count: str
    stored: float | None
    now: float | None
    may_fail: bool = True

    @property
    def change(self) -> float | None:
        """By which part of the stored count it differs; None where there is nothing to compare."""
        if not self.stored or self.now is None:
            return None
        return self.now / self.stored - 1

    @property
    def state(self) -> State:
        """What became of it."""
        if self.stored is None:
            return State.NEW
        if self.now is None:
            return State.GONE
        if abs(self.now - self.stored) <= TOLERANCE * self.stored:
            return State.OK
        return State.MORE if self.now > self.stored else State.FEWER

    @property
    def is_red(self) -> bool:
        """Whether the guard fails for it."""
        return self.may_fail and self.state is not State.OK

    def __str__(self) -> str:
        change = "" if self.change is None else f" ({self.change:+.1%}, allowed ±{TOLERANCE:.0%})"
        stored, now = ("none" if one is None else f"{one:g}" for one in (self.stored, self.now))
        return f"{self.load} {self.count}: {self.state}, {stored} → {now}{change}"


def compare(stored: Figures, now: Figures, *, same_python: bool) -> list[Finding]:
    """Return a finding for every count that is stored or was counted."""
    findings = []
    for load in {**stored, **now}:
        before, after = stored.get(load, {}), now.get(load, {})
        findings += [
            Finding(load, name, before.get(name), after.get(name), same_python or not by_python)
            for name in {**before, **after}
            for by_python in (name in BY_PYTHON,)
        ]
    return findings


def cost_warnings(stored: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Return a sentence for each cost that is far from the stored one; a new one has none."""
    return [
        f"{load}: costs {now[load]:g} × the straight way, stored is {before:g} × "
        f"({now[load] / before - 1:+.0%}); a time, so look whether it stays"
        for load, before in stored.items()
        if before and load in now and abs(now[load] - before) > COST_TOLERANCE * before
    ]
