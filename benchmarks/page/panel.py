"""A part of a picture with axes of its own: lines with error bars, or bars (no I/O)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.page.scale import Scale
from benchmarks.page.svg import Canvas
from benchmarks.page.svg import short_number as short

__all__ = ["Bar", "Panel", "Point", "Series", "spread_labels"]


@dataclass(frozen=True, slots=True)
class Point:
    """A figure with the slowest and the fastest round; equal ones mean that they are not known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a panel; None stands for what was not measured."""

    label: str
    kind: str
    points: Sequence[Point | None]
    is_dashed: bool = False
    is_strong: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; a target is a mark across it."""

    label: str
    kind: str
    point: Point
    target: float | None = None
    is_strong: bool = False


LINE: Final = 15
"""How far apart the names of two lines must be."""


def spread_labels(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Return where to write names that want to stand at *wanted*, none upon another.

    They keep their order; those that lie close together move apart around where they want to be.
    """
    groups: list[tuple[float, list[int]]] = []  # the middle of a block, and who stands in it
    for index in sorted(range(len(wanted)), key=lambda index: wanted[index]):
        middle, group = wanted[index], [index]
        while groups and groups[-1][0] + LINE * (len(groups[-1][1]) + len(group)) / 2 > middle:
            before, members = groups.pop()
            group = [*members, *group]
            middle = (before * len(members) + middle * (len(group) - len(members))) / len(group)
            half = LINE * (len(group) - 1) / 2
            middle = max(low + half, min(high - half, middle))
        groups.append((middle, group))
    places = [0.0] * len(wanted)
    for middle, group in groups:
        for position, index in enumerate(group):
            places[index] = middle + LINE * (position - (len(group) - 1) / 2)
    return places


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of a picture with axes of its own."""

    canvas: Canvas
    left: float
    top: float
    width: float
    height: float
    scale: Scale
    show: Callable[[float], str]
    """How a figure is written."""

    def lines(self, names: Sequence[str], series: Sequence[Series], axis: str) -> None:
        """Draw a line for each series, from left to right over *names*, and write who it is."""
        self._grid(names, axis)
        for one in sorted(series, key=lambda one: one.is_strong):
            self._line(one, len(names))
        ends = [(one, self._end(one, len(names))) for one in series]
        shown = [(one, end) for one, end in ends if end is not None]
        wanted = [end[1] for _, end in shown]
        places = spread_labels(wanted, self.top, self.top + self.height)
        for (one, (x, y)), place in zip(shown, places, strict=True):
            right = self.left + self.width + 22
            if x + 8 < right - 4 or abs(place - y) > 1:
                self.canvas.line(
                    x + 7, y, f"L{short(right - 4)} {short(place)}", one.kind, ' opacity=".4"'
                )
            kinds = f"{one.kind} small" + (" bold" if one.is_strong else "")
            self.canvas.text(right, place + 4, one.label, kinds)

    def _x(self, index: int, count: int) -> float:
        return self.left + self.width * (index + 0.25) / (count - 0.5 if count > 1 else 1)

    def _y(self, value: float) -> float:
        return self.top + self.height * (1 - self.scale.part(value))

    def _grid(self, names: Sequence[str], axis: str) -> None:
        for tick in self.scale.ticks():
            y = self._y(tick)
            self.canvas.line(self.left, y, f"h{short(self.width)}")
            self.canvas.text(self.left - 8, y + 4, self.show(tick), "dim small", "end")
        bottom = self.top + self.height
        for index, name in enumerate(names):
            self.canvas.text(self._x(index, len(names)), bottom + 20, name, "dim small", "middle")
        self.canvas.text(self.left + self.width / 2, bottom + 42, axis, "dim", "middle")

    def _line(self, one: Series, count: int) -> None:
        found = [(self._x(i, count), point) for i, point in enumerate(one.points) if point]
        width = 3.5 if one.is_strong else 1.8
        dash = ' stroke-dasharray="6 4"' if one.is_dashed else ""
        path = " ".join(f"{short(x)},{short(self._y(point.value))}" for x, point in found)
        stroke = f'class="l-{one.kind}" stroke-width="{width}"{dash}'
        self.canvas.body.append(f'<polyline points="{path}" {stroke}/>')
        for x, point in found:
            low, high = self._y(point.low), self._y(point.high)
            if low - high > 1:
                thin = f' stroke-width="{width / 2}"'
                self.canvas.line(x, low, f"V{short(high)}", one.kind, thin)
            place = f'cx="{short(x)}" cy="{short(self._y(point.value))}"'
            size = 4.5 if one.is_strong else 3
            self.canvas.body.append(f'<circle {place} r="{size}" class="{one.kind}"/>')

    def _end(self, one: Series, count: int) -> tuple[float, float] | None:
        found = [(i, point) for i, point in enumerate(one.points) if point]
        return (self._x(found[-1][0], count), self._y(found[-1][1].value)) if found else None

    def bars(self, bars: Sequence[Bar]) -> None:
        """Draw bars from top to bottom, each with its name before it and its figure behind."""
        step = self.height / len(bars)
        thick = min(18.0, step * 0.7)
        for index, bar in enumerate(bars):
            y = self.top + step * index + (step - thick) / 2
            length = self.width * self.scale.part(bar.point.value)
            strong = " bold" if bar.is_strong else ""
            baseline = y + thick / 2 + 5
            self.canvas.text(self.left - 10, baseline, bar.label, f"ink{strong}", "end")
            self.canvas.box(self.left, y, length, thick, bar.kind)
            spread = (bar.point.low, bar.point.high)
            ends = [self.left + self.width * self.scale.part(value) for value in spread]
            if ends[1] - ends[0] > 1:
                self._whisker(ends[0], ends[1], y + thick / 2)
            if bar.target is not None:
                x = self.left + self.width * self.scale.part(bar.target)
                self.canvas.line(x, y - 3, f"v{short(thick + 6)}", "s3", ' stroke-width="2.5"')
                ends.append(x)
            after = max(self.left + length, *ends) + 8
            self.canvas.text(after, baseline, self.show(bar.point.value), f"ink{strong}")

    def _whisker(self, low: float, high: float, y: float) -> None:
        path = [f"H{short(high)}", *(f"M{short(x)} {short(y - 4)} v8" for x in (low, high))]
        self.canvas.line(low, y, " ".join(path), "ink", ' stroke-width="1.2"')
