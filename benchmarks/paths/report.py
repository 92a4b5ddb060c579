"""The report of `paths`: a table for each path, JSON for a program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from rich.table import Table

from benchmarks.paths.cases import SUBJECTS, Profile, Results, Row
from benchmarks.report import format_figure, format_milliseconds, summary_json
from benchmarks.reporting import RunReport
from benchmarks.stats import Summary

__all__ = ["PathsReport", "late_share"]

LATE_SHARE_TOLD: Final = 0.01
"""Share of late packets above which the report says that the relay was short of a processor."""

_EXTRAS: Final[Mapping[str, Callable[[float], str]]] = {
    "share": lambda value: f"{value:.0%} of the link",
    "p99_ms": lambda value: f"p99 {format_milliseconds(value)}",
    "p99_us": lambda value: f"p99 {format_milliseconds(value / 1000)}",
}


@dataclass(slots=True, kw_only=True)
class PathsReport(RunReport):
    """What one run found out."""

    profiles: Sequence[Profile]
    rows: Sequence[Row]
    results: Results
    relays: Mapping[str, Sequence[Mapping[str, int]]] = field(default_factory=dict)
    """By profile, what the relay counted in each direction."""

    @property
    def name(self) -> str:
        return "paths"

    @property
    def conditions(self) -> str:
        rounds, seconds = self.settings.get("rounds"), self.settings.get("seconds")
        control = self.machine.get("tcp_congestion_control")
        return f"{control}; medians of {rounds} interleaved rounds of {seconds} s"

    def tables(self) -> Iterable[Table]:
        return [_table(self, one) for one in self.profiles if one.name in self.results]

    def figures(self) -> dict[str, object]:
        return {
            "profiles": {
                profile.name: {**asdict(profile), "queue_bytes": profile.queue_bytes}
                for profile in self.profiles
            },
            "results": {
                profile: {
                    row: {subject: summary_json(summary) for subject, summary in subjects.items()}
                    for row, subjects in rows.items()
                }
                for profile, rows in self.results.items()
            },
            "relay": {
                name: [dict(counts) for counts in both] for name, both in self.relays.items()
            },
        }


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
