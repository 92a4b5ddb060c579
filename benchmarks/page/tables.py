"""Markdown tables of figures (no I/O).

A matrix has a row for each subject and a column for each case.  A cell is the median with the
slowest and the fastest round, and below it how it compares with a base: ours, or the first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks.cases import OURS
from benchmarks.idle.report import format_bytes
from benchmarks.page.words import CEILING, format_spread, format_us, is_ours, label
from benchmarks.records import Json
from benchmarks.report import format_figure
from benchmarks.stats import Summary

__all__ = [
    "ABSENT",
    "Figures",
    "cell_of_added",
    "cell_of_beside",
    "cell_of_cost",
    "cell_of_figure",
    "cell_of_latency",
    "cell_of_path",
    "cell_of_share",
    "matrix",
    "table",
    "target_rows",
]

Figures = Mapping[tuple[str, ...], Summary]
"""Case and subject, to the figure."""

Cell = Callable[[Summary, Summary | None], str]
"""Writes a figure, given that of the subject that it is compared with."""

ABSENT: Final = "–"

LATENCIES: Final = ("p50_us", "p99_us", "p999_us")

COSTS: Final = {
    "cpu_us": ("", "µs"),
    "cpu_s_per_gb": ("", "s/GB"),
    "broker_cpu_us": ("broker: ", "µs"),
    "broker_cpu_s_per_gb": ("broker: ", "s/GB"),
}
"""Extras that tell what one of something cost: what is written before and behind each."""

METRICS: Final = {
    "value": "",
    "p50_us": "p50",
    "p99_us": "p99",
    "p999_us": "p99.9",
    "cpu_us": "processor time",
    "cpu_s_per_gb": "processor time",
    "broker_cpu_us": "broker's processor time",
    "broker_cpu_s_per_gb": "broker's processor time",
}
"""What a target is about, as the page writes it."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; a bar in a cell shows as it is."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def matrix(figures: Figures, cases: Sequence[str], cell: Cell, *, base: str = OURS) -> str:
    """Return the table of these cases, "" where none of them has a cell.

    Args:
        base: the subject that the others are compared with.
    """
    subjects = dict.fromkeys(path[1] for path in figures if path[0] in cases)
    rows: dict[str, list[str]] = {}
    for subject in subjects:
        cells = [_cell(figures, case, subject, base, cell) for case in cases]
        if any(text != ABSENT for text in cells):
            rows[subject] = cells
    kept = [i for i in range(len(cases)) if any(cells[i] != ABSENT for cells in rows.values())]
    if not kept:
        return ""
    has_unit = cell in UNIT_IN_HEAD
    head = ["", *(_head(figures, cases[i], has_unit=has_unit) for i in kept)]
    body = [[_name(subject), *(cells[i] for i in kept)] for subject, cells in rows.items()]
    return table(head, body)


def _cell(figures: Figures, case: str, subject: str, base: str, cell: Cell) -> str:
    summary = figures.get((case, subject))
    if summary is None:
        return ABSENT
    other = None if subject in (base, CEILING) else figures.get((case, base))
    return cell(summary, other)


def _name(subject: str) -> str:
    return f"**{label(subject)}**" if is_ours(subject) else label(subject)


def _head(figures: Figures, case: str, *, has_unit: bool) -> str:
    units = (summary.unit for path, summary in figures.items() if path[0] == case)
    unit = next(filter(None, units), "") if has_unit else ""
    return "<br>".join(filter(None, [f"`{case}`" if case else "", unit]))


def cell_of_figure(summary: Summary, other: Summary | None) -> str:
    """Return median and spread, and the base as a multiple of it: what is ours beside it."""
    has_ratio = other is not None and summary.median > 0
    return _figure(summary, other.median / summary.median if other and has_ratio else None)


def cell_of_share(summary: Summary, other: Summary | None) -> str:
    """Return median and spread, and it as a multiple of the base."""
    has_ratio = other is not None and other.median > 0
    return _figure(summary, summary.median / other.median if other and has_ratio else None)


def _figure(summary: Summary, ratio: float | None) -> str:
    text = f"**{format_figure(summary.median)}**"
    if len(summary.rounds) > 1:
        text += f" ({format_spread(*summary.spread)})"
    return text if ratio is None else f"{text}<br>{ratio:.2f} ×"


def cell_of_path(summary: Summary, other: Summary | None) -> str:
    """Return a figure over a path, how much of the link that is, and the 99th percentile."""
    found = dict(summary.extras)
    lines = [cell_of_figure(summary, other)]
    if "share" in found:
        lines.append(f"{found['share']:.0%} of the link")
    p99 = found.get("p99_ms", found.get("p99_us", 0) / 1000)
    if p99:
        lines.append(f"p99 {format_figure(p99)} ms")
    return "<br>".join(lines)


def cell_of_latency(summary: Summary, other: Summary | None) -> str:
    """Return the percentiles in µs, those that there are."""
    del other
    found = dict(summary.extras)
    shown = [format_us(found[name]) for name in LATENCIES if name in found]
    return " / ".join(shown) or ABSENT


def cell_of_added(summary: Summary, other: Summary | None) -> str:
    """Return the percentiles in µs, and what of the 99th is not the target's own."""
    lines = [cell_of_latency(summary, other)]
    added = dict(summary.extras).get("added_p99_us")
    if added is not None:
        lines.append(f"p99 {added:+,.0f}")
    return "<br>".join(lines)


def cell_of_beside(summary: Summary, other: Summary | None) -> str:
    """Return a call's median and 99th percentile beside a payload, and how fast that was."""
    del other
    found = dict(summary.extras)
    return (
        f"{format_us(found['p50_us'])} / **{format_us(summary.median)}**"
        f"<br>{format_figure(found['bulk_gbit_s'])} Gbit/s"
    )


def cell_of_cost(summary: Summary, other: Summary | None) -> str:
    """Return the processor time of one, also as a multiple of the base's; a line for each cost."""
    found = dict(summary.extras)
    base = {} if other is None else dict(other.extras)
    lines = []
    for name, (prefix, unit) in COSTS.items():
        if name in found:
            ratio = f" ({found[name] / base[name]:.2f} ×)" if base.get(name) else ""
            lines.append(f"{prefix}{_three_digits(found[name])} {unit}{ratio}")
    return "<br>".join(lines) or ABSENT


def _three_digits(value: float) -> str:
    """Return at least three digits, never in powers of ten: 1514.2 becomes "1,514"."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


UNIT_IN_HEAD: Final = (cell_of_figure, cell_of_path, cell_of_share)
"""Cells without a unit of their own."""


def target_rows(scenarios: Mapping[str, Json], names: Collection[str]) -> list[list[str]]:
    """Return a row for each target of these scenarios: what, the goal, what was reached."""
    rows: list[list[str]] = []
    for name in names:
        one = scenarios.get(name, {})
        for target in one.get("targets", ()):
            rows.append([f"`{name}`", *_ratio_target(target)])
        for row, figures in one.get("results", {}).items():
            if figures.get("target_bytes") is not None:
                rows.append([f"`{name}`", *_memory_target(row, figures)])
    return rows


def _ratio_target(target: Mapping[str, Any]) -> list[str]:
    is_most = bool(target.get("at_most"))
    metric = METRICS.get(target.get("metric", "value"), str(target.get("metric")))
    ratio = str(target["ratio"]).removeprefix(f"{target.get('metric')} ")
    what = f"`{target['case']}`" + (f", {metric}" if metric else "")
    goal = f"{'≤' if is_most else '≥'} {target['target']:g}"
    reached, met = target.get("reached"), target.get("met")
    if reached is None:
        return [what, ratio, goal, ABSENT, "not measured"]
    apart = abs(reached / target["target"] - 1)
    digits = 2 if met or apart >= 0.005 else 3
    return [what, ratio, goal, f"{reached:.{digits}f}", _verdict(met, apart, is_most=is_most)]


def _memory_target(row: str, figures: Json) -> list[str]:
    reached, goal = figures["bytes_each"], figures["target_bytes"]
    verdict = _verdict(figures.get("met"), abs(reached / goal - 1), is_most=True)
    return [f"`{row}`", "memory", f"≤ {format_bytes(goal)}", format_bytes(reached), verdict]


def _verdict(met: bool | None, apart: float, *, is_most: bool) -> str:
    if met:
        return "met"
    # A miss of less than half a percent is one all the same: it must not read as none.
    share = f"{apart:.0%}" if apart >= 0.005 else f"{apart:.1%}"
    return f"**{'over' if is_most else 'short'} by {share}**"
