"""The report of `paths`: a table for each path, JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.paths.cases import SUBJECTS, Profile, Results, Row
from benchmarks.report import format_figure, format_milliseconds
from benchmarks.stats import Summary

__all__ = ["PathsReport", "late_share", "to_json"]

LATE_SHARE_TOLD: Final = 0.01
"""Share of late packets above which the report says that the relay was short of a processor."""

_EXTRAS: Final[Mapping[str, Callable[[float], str]]] = {
    "share": lambda value: f"{value:.0%} of the link",
    "p99_ms": lambda value: f"p99 {format_milliseconds(value)}",
    "p99_us": lambda value: f"p99 {format_milliseconds(value / 1000)}",
}


@dataclass(frozen=True, slots=True)
class PathsReport:
    """Everything that one run found out."""

    machine: Mapping[str, object]
    settings: Mapping[str, object]
    profiles: Sequence[Profile]
    rows: Sequence[Row]
    results: Results
    relays: Mapping[str, Sequence[Mapping[str, int]]] = field(default_factory=dict)
    """By profile, what the relay counted in each direction."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Loads, or subjects on a path, that were not measured, with the reason."""
    failures: Sequence[str] = ()
    is_incomplete: bool = False
    """Whether the run was stopped before its end."""

    @property
    def is_complete(self) -> bool:
        """Whether everything asked for was measured."""
        return not (self.failures or self.skipped or self.is_incomplete)

    def show(self, console: Console) -> None:
        """Print the tables, and what stands below them."""
        for profile in self.profiles:
            if profile.name in self.results:
                console.print(_table(self, profile))
        for name, reason in self.skipped.items():
            console.print(f"[yellow]not measured[/] {name}: {escape(reason)}", highlight=False)
        for failure in self.failures:
            console.print(f"[red]failed[/] {escape(failure)}", highlight=False)
        facts = self.machine
        console.print(
            f"[dim]{facts.get('cpu')}, {facts.get('cores')} cores, kernel {facts.get('kernel')} "
            f"({facts.get('tcp_congestion_control')}), Python {facts.get('python')}, Trio "
            f"{facts.get('trio')}; medians of {self.settings.get('rounds')} interleaved rounds of "
            f"{self.settings.get('seconds')} s[/]",
            highlight=False,
        )

    def write(self, path: Path) -> None:
        """Write the report for a program to read.

        Raises:
            OSError: the file cannot be written.
        """
        path.write_text(json.dumps(to_json(self), indent=2) + "\n")


def to_json(report: PathsReport) -> dict[str, object]:
    """Return the report as plain values; benchmarks/README.md lists the keys."""
    return {
        "scenario": "paths",
        "machine": dict(report.machine),
        "settings": dict(report.settings),
        "profiles": {
            profile.name: {**asdict(profile), "queue_bytes": profile.queue_bytes}
            for profile in report.profiles
        },
        "results": {
            profile: {
                row: {subject: _summary_json(summary) for subject, summary in subjects.items()}
                for row, subjects in rows.items()
            }
            for profile, rows in report.results.items()
        },
        "relay": {name: [dict(counts) for counts in both] for name, both in report.relays.items()},
        "skipped": dict(report.skipped),
        "failures": list(report.failures),
        **({"incomplete": True} if report.is_incomplete else {}),
    }


def _summary_json(summary: Summary) -> dict[str, object]:
    figures: dict[str, object] = {"median": summary.median, "unit": summary.unit}
    return {**figures, "rounds": list(summary.rounds), **dict(summary.extras)}


def late_share(directions: Sequence[Mapping[str, int]]) -> float:
    """Return the share of the packets that the relay delivered late, in both directions."""
    passed = sum(counts["passed"] for counts in directions)
    return sum(counts["late"] for counts in directions) / passed if passed else 0.0


def _table(report: PathsReport, profile: Profile) -> Table:
    rows = report.results[profile.name]
    measured = {subject for figures in rows.values() for subject in figures}
    subjects = [name for name in SUBJECTS if name in measured]
    queue = f"a queue of {profile.queue_bytes / 1000:.0f} kB"
    table = Table(title=f"{profile.name}: {profile.about}, {queue}", title_justify="left")
    table.caption = _caption(report.relays.get(profile.name, ()))
    table.caption_justify = "left"
    table.add_column("what", no_wrap=True)
    for subject in subjects:
        table.add_column(subject, justify="right", no_wrap=True)
    for row in report.rows:
        figures = rows.get(row.name, {})
        name = f"{row.name} [dim]({row.unit})\n{row.about}[/]"
        table.add_row(name, *(_cell(figures.get(subject)) for subject in subjects))
    return table


def _caption(directions: Sequence[Mapping[str, int]]) -> str:
    """Warn where the path was not what it should be."""
    share = late_share(directions)
    if share <= LATE_SHARE_TOLD:
        return ""
    return f"{share:.0%} of the packets were late by more than 1 ms: the machine was too busy"


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return "[dim]-[/]"
    lines = [f"[bold]{format_figure(summary.median)}[/]"]
    if len(summary.rounds) > 1:
        least, most = (format_figure(value) for value in summary.spread)
        lines.append(f"[dim]{least} - {most}[/]")
    extras = dict(summary.extras)
    lines += [f"[dim]{tell(extras[name])}[/]" for name, tell in _EXTRAS.items() if name in extras]
    return "\n".join(lines)
