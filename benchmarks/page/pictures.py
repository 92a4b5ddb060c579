"""The plots of docs/performance.md: which there are, and what of the results each shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from benchmarks.cases import OURS
from benchmarks.idle.cases import known_cases, rows_of
from benchmarks.idle.report import format_bytes
from benchmarks.page.flames import flame
from benchmarks.page.panel import Bar, Panel, Point, Series
from benchmarks.page.scale import Scale
from benchmarks.page.svg import SERIES, WIDTH, Canvas
from benchmarks.page.words import CEILING, is_ours, label
from benchmarks.records import Json, Record, figures_of
from benchmarks.report import format_figure
from benchmarks.stats import Summary

__all__ = ["PICTURES", "draw"]

WHISKERS: Final = "the thin line goes from the slowest to the fastest round"

BAR_HEIGHT: Final = 27
LEFT: Final = 150
TOP: Final = 70

LINE_COLOURS: Final = (
    *("haproxy", "yamux", "smux", "openssh_r", "openssh_l", "nginx_stream", "trio", "direct"),
    *("envoy", "v2ray", "singbox", "snitun", "asyncssh", "libp2p", "websocat", "haproxy_rhttp"),
    "haproxy_256k",
)
"""Subjects in the order of their colours, so that each has the same one in every plot."""

Figures = Mapping[tuple[str, ...], Summary]
"""Case and subject, to the figure."""


def _point(summary: Summary) -> Point:
    return Point(summary.median, *summary.spread)


def _extra(summary: Summary, name: str) -> Point | None:
    """Return a figure of which only the median is known."""
    value = dict(summary.extras).get(name)
    return None if value is None else Point(value, value, value)


# --- lines --------------------------------------------------------------------------------------


def _series(subject: str, points: Sequence[Point | None], known: Sequence[str]) -> Series:
    if is_ours(subject):
        dashed = subject != OURS
        return Series(label(subject), OURS, points, is_dashed=dashed, is_strong=not dashed)
    order = [*LINE_COLOURS, *(name for name in known if name not in LINE_COLOURS)]
    index = order.index(subject)
    return Series(label(subject), f"s{index % SERIES}", points, is_dashed=index >= SERIES)


def _lines(
    panel: Panel, found: Mapping[str, Sequence[Point | None]], names: Sequence[str], axis: str
) -> None:
    series = [_series(subject, points, list(found)) for subject, points in found.items()]
    panel.lines(names, [one for one in series if any(one.points)], axis)


def _values(found: Mapping[str, Sequence[Point | None]]) -> list[float]:
    """Return what a scale must hold."""
    points = (point for line in found.values() for point in line if point is not None)
    return [value for point in points for value in (point.low, point.high)]


def _requests(record: Record) -> Canvas | None:
    figures = figures_of(record.results("spine"))
    cases = _numbered(figures, r"rps_(\d+)")
    if len(cases) < 2:
        return None
    found = {
        subject: [_of(figures, case, subject, _point) for case in cases.values()]
        for subject in _subjects(figures, list(cases.values()))
    }
    found = {name: line for name, line in found.items() if sum(map(bool, line)) > 1}
    about = "Requests a second of each subject by the number of connections, ours highlighted."
    canvas = Canvas("Requests a second, by connections", about, 520)
    canvas.text(24, 56, f"logarithmic; more is better; {WHISKERS}", "dim small")
    scale = Scale.of(_values(found), is_log=True)
    panel = Panel(canvas, 80, 84, WIDTH - 80 - 150, 370, scale, format_figure)
    _lines(panel, found, [f"{number:,}" for number in cases], "connections")
    return canvas


def _echo_beside(record: Record) -> Canvas | None:
    figures = figures_of(record.results("beside"))
    ways = {
        "uploads": _numbered(figures, r"beside_(\d+)"),
        "downloads": _numbered(figures, r"beside_back_(\d+)"),
    }
    shown = {words: cases for words, cases in ways.items() if cases}
    lines = {
        words: {
            subject: [_of(figures, case, subject, _p99) for case in cases.values()]
            for subject in _subjects(figures, list(cases.values()))
        }
        for words, cases in shown.items()
    }
    values = [value for found in lines.values() for value in _values(found)]
    if not values:
        return None
    about = "The 99th percentile of an echo of 64 bytes in µs, beside 1, 10 and 100 bulk streams."
    canvas = Canvas("An echo of 64 bytes beside bulk streams: p99 in µs", about, 480)
    canvas.text(24, 56, f"logarithmic; less is better; {WHISKERS}", "dim small")
    scale = Scale.of(values, is_log=True)
    width = (WIDTH - 24 * len(lines)) / len(lines)
    for index, (words, found) in enumerate(lines.items()):
        left = 24 + index * (width + 24)
        canvas.text(left + 46, 82, f"beside {words}", "ink bold")
        panel = Panel(canvas, left + 46, 96, width - 46 - 130, 320, scale, _thousands)
        names = [f"{number:,}" for number in shown[words]]
        _lines(panel, found, names, "bulk streams")
    return canvas


def _p99(summary: Summary) -> Point | None:
    """Return the 99th percentile; where it is the figure of the case itself, with its spread."""
    found = _extra(summary, "p99_us")
    is_figure = found is not None and found.value == summary.median
    return _point(summary) if is_figure else found


def _thousands(value: float) -> str:
    return f"{value:,.0f}"


def _numbered(figures: Figures, pattern: str) -> dict[int, str]:
    """Return the cases whose name is *pattern*, by the number in it, in its order."""
    found = ((re.fullmatch(pattern, path[0]), path[0]) for path in figures)
    return dict(sorted((int(match[1]), case) for match, case in found if match))


def _subjects(figures: Figures, cases: Collection[str]) -> list[str]:
    """Return the subjects of these cases, once, in the order of the report."""
    return list(dict.fromkeys(path[1] for path in figures if path[0] in cases))


def _of(
    figures: Figures, case: str, subject: str, read: Callable[[Summary], Point | None]
) -> Point | None:
    summary = figures.get((case, subject))
    return None if summary is None else read(summary)


# --- bars ---------------------------------------------------------------------------------------


def _ranked(
    record: Record,
    case: str,
    read: Callable[[Summary], Point | None],
    *,
    is_less_better: bool = False,
) -> list[Bar]:
    """Return a bar for each subject of a case of the spine, the best first."""
    figures = figures_of(record.results("spine"))
    found = {path[1]: read(one) for path, one in figures.items() if path[0] == case}
    points = {name: point for name, point in found.items() if point is not None}
    order = sorted(points, key=lambda name: points[name].value, reverse=not is_less_better)
    kinds = {OURS: "ours", CEILING: "ceiling"}
    return [
        Bar(label(name), kinds.get(name, "other"), points[name], is_strong=name == OURS)
        for name in order
    ]


def _bars(
    title: str,
    note: str,
    bars: Sequence[Bar],
    show: Callable[[float], str] = format_figure,
) -> Canvas | None:
    if len(bars) < 2:
        return None
    told = ", ".join(f"{bar.label} {show(bar.point.value)}" for bar in bars)
    height = len(bars) * BAR_HEIGHT
    canvas = Canvas(title, f"{told}.", TOP + height + 20)
    canvas.text(24, 56, note, "dim small")
    scale = Scale.of([value for bar in bars for value in (bar.point.high, bar.target or 0)])
    Panel(canvas, LEFT, TOP, WIDTH - LEFT - 90, height, scale, show).bars(bars)
    return canvas


def _bulk(record: Record) -> Canvas | None:
    bars = _ranked(record, "bulk", _point)
    return _bars("One bulk stream, in Gbit/s", f"more is better; {WHISKERS}", bars)


def _new_connections(record: Record) -> Canvas | None:
    bars = _ranked(record, "new_conns", _point)
    return _bars("New connections a second", f"more is better; {WHISKERS}", bars)


def _latency(record: Record) -> Canvas | None:
    bars = _ranked(record, "rps_32", lambda summary: _extra(summary, "p99_us"), is_less_better=True)
    title = "The 99th percentile of a request at 32 connections, in µs"
    return _bars(title, "less is better; medians of the rounds", bars, _thousands)


def _cost(record: Record) -> Canvas | None:
    bars = _ranked(record, "rps_32", lambda summary: _extra(summary, "cpu_us"), is_less_better=True)
    title = "Processor time of a request at 32 connections, in µs"
    note = "all processes of a subject, user and system; less is better; medians of the rounds"
    return _bars(title, note, bars, lambda value: f"{value:.3g}")


def _memory(record: Record) -> Canvas | None:
    results = record.results("idle")
    figures = figures_of(results)
    rows = rows_of(known_cases())
    made = [_memory_bar(row.name, row.about, results, figures) for row in rows]
    found = [bar for bar in made if bar is not None]
    limit = 1 << 20
    panels = [
        ("of one, held by the thousand", [bar for bar in found if bar.point.value < limit]),
        ("of a whole program", [bar for bar in found if bar.point.value >= limit]),
    ]
    panels = [(words, bars) for words, bars in panels if bars]
    if not panels:
        return None
    told = ", ".join(f"{bar.label} {format_bytes(bar.point.value)}" for bar in found)
    height = sum(len(bars) * BAR_HEIGHT + 40 for _, bars in panels)
    canvas = Canvas("Memory of what idles", f"{told}.", TOP + height + 4)
    canvas.text(24, 56, "less is better; red: the most that it may be", "dim small")
    top = TOP + 12.0
    for words, bars in panels:
        canvas.text(24, top + 8, words, "ink bold")
        scale = Scale.of([value for bar in bars for value in (bar.point.high, bar.target or 0)])
        size = len(bars) * BAR_HEIGHT
        Panel(canvas, 300, top + 16, WIDTH - 300 - 90, size, scale, format_bytes).bars(bars)
        top += size + 40
    return canvas


def _memory_bar(name: str, about: str, results: Json, figures: Figures) -> Bar | None:
    summary = figures.get((name, "bytes_each"))
    if summary is None:
        return None
    words = about.partition(", one session")[0]
    return Bar(words, "ours", _point(summary), results[name].get("target_bytes"))


def _flame(load: str, title: str) -> Callable[[Record], Canvas | None]:
    """Return what draws the stacks of both processes under a load."""

    def draw_it(record: Record) -> Canvas | None:
        processes = record.results("profile").get(load)
        return flame(title, processes) if processes else None

    return draw_it


PICTURES: Final[Mapping[str, Callable[[Record], Canvas | None]]] = {
    "requests-by-connections": _requests,
    "bulk": _bulk,
    "new-connections": _new_connections,
    "latency": _latency,
    "echo-beside-bulk": _echo_beside,
    "cost-of-a-request": _cost,
    "memory-of-idle": _memory,
    "flame-requests": _flame("rps_32", "Where the time of requests goes, 32 connections"),
    "flame-connections": _flame("new_conns", "Where the time of new connections goes"),
    "flame-bulk": _flame("bulk", "Where the time of one bulk stream goes"),
}
"""By file name in docs/pictures; None where the results do not hold enough for it."""


def draw(record: Record) -> dict[str, Canvas]:
    """Return the plots that can be made of these results."""
    drawn = {name: make(record) for name, make in PICTURES.items()}
    return {name: canvas for name, canvas in drawn.items() if canvas is not None}
