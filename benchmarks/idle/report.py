"""The report of `idle`: a table for a reader, JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.idle.cases import Summary

__all__ = ["IdleReport", "format_bytes", "format_target", "to_json"]

PLACES_SHOWN: Final = 15


@dataclass(frozen=True, slots=True)
class IdleReport:
    """Everything that one run found out."""

    machine: Mapping[str, object]
    settings: Mapping[str, object]
    summaries: Sequence[Summary]
    notes: Sequence[str] = ()
    """Where less was held than was asked for."""
    failures: Sequence[str] = ()
    is_incomplete: bool = False
    """Whether the run was stopped before its end."""

    @property
    def is_complete(self) -> bool:
        """Whether everything asked for was measured."""
        return not self.failures and not self.is_incomplete

    def show(self, console: Console) -> None:
        """Print the table, and what stands below it."""
        console.print(_table(self.summaries))
        for summary in self.summaries:
            if summary.places:
                console.print(_places_table(summary))
        for note in self.notes:
            console.print(f"[yellow]note[/] {escape(note)}", highlight=False)
        for failure in self.failures:
            console.print(f"[red]failed[/] {escape(failure)}", highlight=False)
        if self.settings.get("traced"):
            console.print(
                "[yellow]traced[/]: the lines are right, the memory of the whole process is not"
            )
        facts = self.machine
        console.print(
            f"[dim]{facts.get('cpu')}, {facts.get('cores')} cores, kernel {facts.get('kernel')}, "
            f"Python {facts.get('python')}, Trio {facts.get('trio')}; medians of "
            f"{self.settings.get('rounds')} rounds, {self.settings.get('idle_seconds')} s idle[/]",
            highlight=False,
        )

    def write(self, path: Path) -> None:
        """Write the report for a program to read.

        Raises:
            OSError: the file cannot be written.
        """
        path.write_text(json.dumps(to_json(self), indent=2) + "\n")


def to_json(report: IdleReport) -> dict[str, object]:
    """Return the report as plain values; benchmarks/README.md lists the keys."""
    return {
        "scenario": "idle",
        "machine": dict(report.machine),
        "settings": dict(report.settings),
        "results": {summary.row.name: _summary_json(summary) for summary in report.summaries},
        "notes": list(report.notes),
        "failures": list(report.failures),
        **({"incomplete": True} if report.is_incomplete else {}),
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
