"""The report of `idle`: a table for a reader, JSON for a program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from rich.markup import escape
from rich.table import Table

from benchmarks.idle.cases import Summary
from benchmarks.reporting import RunReport

__all__ = ["IdleReport", "format_bytes", "format_target"]

PLACES_SHOWN: Final = 15


@dataclass(slots=True, kw_only=True)
class IdleReport(RunReport):
    """What one run found out."""

    summaries: Sequence[Summary]
    shortages: Sequence[str] = ()
    """Where less was held than was asked for."""

    @property
    def name(self) -> str:
        return "idle"

    @property
    def conditions(self) -> str:
        rounds, seconds = self.settings.get("rounds"), self.settings.get("idle_seconds")
        return f"medians of {rounds} rounds, {seconds} s idle"

    def tables(self) -> Iterable[Table]:
        places = [_places_table(summary) for summary in self.summaries if summary.places]
        return [_table(self.summaries), *places]

    def notes(self) -> Iterable[str]:
        for shortage in self.shortages:
            yield f"[yellow]note[/] {escape(shortage)}"
        if self.settings.get("traced"):
            yield "[yellow]traced[/]: the lines are right, the memory of the whole process is not"

    def figures(self) -> dict[str, object]:
        return {
            "results": {summary.row.name: _summary_json(summary) for summary in self.summaries},
            "notes": list(self.shortages),
        }


def _summary_json(summary: Summary) -> dict[str, object]:
    target = summary.row.target_bytes
    return {
        "bytes_each": round(summary.bytes_each),
        "wake_ups_per_s": summary.wake_ups_per_s,
        "cpu_s_per_minute": summary.cpu_s_per_minute,
        "target_bytes": target,
        "met": None if target is None else not summary.excess_bytes,
        "rounds": [asdict(sample) for sample in summary.samples],
        "places": dict(summary.places),
    }


def format_bytes(count: float) -> str:
    """Three significant digits in the unit that fits: 3_072 becomes "3 KiB"."""
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if abs(count) >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def format_target(summary: Summary) -> str:
    """What became of the target of a row, in a few words marked up for rich."""
    target = summary.row.target_bytes
    if target is None:
        return "[dim]-[/]"
    goal = f"at most {format_bytes(target)}"
    if not summary.excess_bytes:
        return f"[green]{goal}: met[/]"
    over = f"{format_bytes(summary.excess_bytes)} ({summary.excess_bytes / target:.0%})"
    return f"[red]{goal}: over by {over}[/]"


def _table(summaries: Sequence[Summary]) -> Table:
    table = Table(title="resident memory of one, and what the process does while idle")
    table.title_justify = "left"
    table.add_column("what", no_wrap=True)
    for name in ("held", "memory of one", "wake-ups/s", "CPU s/min"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    for summary in summaries:
        least, most = (format_bytes(size) for size in summary.spread)
        spread = f"\n[dim]{least} - {most}[/]" if len(summary.samples) > 1 else ""
        table.add_row(
            f"{summary.row.name}\n[dim]{summary.row.about}[/]",
            f"{summary.samples[0].count:,}",
            f"[bold]{format_bytes(summary.bytes_each)}[/]{spread}",
            f"{summary.wake_ups_per_s:.1f}",
            f"{summary.cpu_s_per_minute:.2f}",
            format_target(summary),
        )
    return table


def _places_table(summary: Summary) -> Table:
    table = Table(title=f"{summary.row.name}: bytes of one, by the line that allocated them")
    table.title_justify = "left"
    table.add_column("bytes", justify="right")
    table.add_column("line")
    for place, size in list(summary.places.items())[:PLACES_SHOWN]:
        table.add_row(f"{size:.0f}", escape(place))
    return table
