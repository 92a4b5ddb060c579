"""The report of `resume`: a table for a reader, JSON for a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from rich.table import Table

from benchmarks.report import format_milliseconds
from benchmarks.reporting import RunReport
from benchmarks.resume.cases import CASES, Summary

__all__ = ["ResumeReport", "format_outcome", "format_pause"]


@dataclass(slots=True, kw_only=True)
class ResumeReport(RunReport):
    """What one run found out."""

    results: Mapping[str, Mapping[str, Summary]]
    """Case, then subject; what was not measured is absent."""

    @property
    def name(self) -> str:
        return "resume"

    def tables(self) -> Iterable[Table]:
        return [_table(self.results)]

    def figures(self) -> dict[str, object]:
        return {
            "results": {
                case: {subject: _summary_json(summary) for subject, summary in subjects.items()}
                for case, subjects in self.results.items()
            }
        }


def _summary_json(summary: Summary) -> dict[str, object]:
    return {
        "pause_ms": summary.pause_ms,
        "missing_ms": summary.missing_ms,
        "intact": summary.intact_count,
        "broken_after_ms": summary.broken_after_ms,
        "rounds": [asdict(trial) for trial in summary.trials],
    }


def format_pause(summary: Summary) -> str:
    """The median pause and the spread, marked up for rich."""
    if summary.pause_ms is None:
        return "[dim]-[/]"
    least, most = (format_milliseconds(value) for value in summary.spread)
    spread = f"\n[dim]{least} - {most}[/]" if summary.intact_count > 1 else ""
    return f"[bold]{format_milliseconds(summary.pause_ms)}[/]{spread}"


def format_outcome(summary: Summary) -> str:
    """What became of the downloads, in a few words marked up for rich."""
    total = len(summary.trials)
    if summary.broken_after_ms is None:
        return f"[green]{summary.intact_count} of {total} intact[/]"
    words = f"{total - summary.intact_count} of {total} broken"
    return f"[red]{words}[/], after {format_milliseconds(summary.broken_after_ms)}"


def _table(results: Mapping[str, Mapping[str, Summary]]) -> Table:
    table = Table(title="longest wait for bytes in a download to which something happens")
    table.title_justify = "left"
    table.add_column("what happens", no_wrap=True)
    table.add_column("subject", no_wrap=True)
    for name in ("pause", "away"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("downloads", no_wrap=True)
    for case in CASES:
        for number, (subject, summary) in enumerate(results.get(case.name, {}).items()):
            away = format_milliseconds(summary.missing_ms) if summary.missing_ms else "[dim]-[/]"
            table.add_row(
                "" if number else f"{case.name}\n[dim]{case.about}[/]",
                subject,
                format_pause(summary),
                away,
                format_outcome(summary),
            )
    return table
