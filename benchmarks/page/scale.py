"""Where a figure lies on an axis, and which figures are written beside it (no I/O)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Scale"]

MOST_TICKS: Final = 10


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a figure lies between 0 and 1: linear from nothing, or logarithmic."""

    low: float
    high: float
    is_log: bool = False

    @classmethod
    def of(cls, values: Sequence[float], *, is_log: bool = False) -> Scale:
        """Return the scale that holds all values and ends at round figures."""
        if not is_log:
            return cls(0.0, max(values) * 1.05 or 1.0)
        positive = [value for value in values if value > 0] or [1.0]
        return cls(_round_down(min(positive)), _round_up(max(positive)), is_log=True)

    def part(self, value: float) -> float:
        """Return where a figure lies."""
        if self.is_log:
            value = max(value, self.low)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def _holds(self, value: float) -> bool:
        return self.low * 0.999 <= value <= self.high * 1.001

    def ticks(self) -> list[float]:
        """Return the figures to write at the axis."""
        if self.is_log:
            powers = [10.0**power for power in range(-3, 12)]
            fine = [power * times for power in powers for times in (1, 2, 5)]
            inside = [[step for step in steps if self._holds(step)] for steps in (fine, powers)]
            return inside[0] if len(inside[0]) <= MOST_TICKS else inside[1]
        rough = self.high / 5
        unit = 10 ** math.floor(math.log10(rough))
        step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
        return [step * index for index in range(int(self.high / step) + 1)]


def _round_down(value: float) -> float:
    unit: float = 10 ** math.floor(math.log10(value))
    return max(unit * times for times in (1, 2, 5) if unit * times <= value * 0.999 or times == 1)


def _round_up(value: float) -> float:
    unit: float = 10 ** math.floor(math.log10(value))
    return min(unit * times for times in (1, 2, 5, 10) if unit * times >= value * 1.001)
