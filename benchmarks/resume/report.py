"""The report of `resume`: a table for a reader, JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.report import format_milliseconds
from benchmarks.resume.cases import CASES, Summary

__all__ = ["ResumeReport", "format_outcome", "format_pause", "to_json"]


@dataclass(frozen=True, slots=True)
class ResumeReport:
    """Everything that one run found out."""

    machine: Mapping[str, object]
    settings: Mapping[str, object]
    results: Mapping[str, Mapping[str, Summary]]
    """Case, then subject; what was not measured is absent."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Cases, or subjects in a case, that were not measured, with the reason."""
    failures: Sequence[str] = ()
    is_incomplete: bool = False
    """Whether the run was stopped before its end."""

    @property
    def is_complete(self) -> bool:
        """Whether everything asked for was measured."""
        return not (self.failures or self.skipped or self.is_incomplete)

    def show(self, console: Console) -> None:
        """Print the table, and what stands below it."""
        console.print(_table(self.results))
        for name, reason in self.skipped.items():
            console.print(f"[yellow]not measured[/] {name}: {escape(reason)}", highlight=False)
        for failure in self.failures:
            console.print(f"[red]failed[/] {escape(failure)}", highlight=False)
        facts = self.machine
        console.print(
            f"[dim]{facts.get('cpu')}, {facts.get('cores')} cores, kernel {facts.get('kernel')}, "
            f"Python {facts.get('python')}, Trio {facts.get('trio')}; medians of "
            f"{self.settings.get('rounds')} rounds[/]",
            highlight=False,
        )

    def write(self, path: Path) -> None:
        """Write the report for a program to read.

        Raises:
            OSError: the file cannot be written.
        """
        path.write_text(json.dumps(to_json(self), indent=2) + "\n")


def to_json(report: ResumeReport) -> dict[str, object]:
    """Return the report as plain values; benchmarks/README.md lists the keys."""
    return {
        "scenario": "resume",
        "machine": dict(report.machine),
        "settings": dict(report.settings),
        "results": {
            case: {subject: _summary_json(summary) for subject, summary in subjects.items()}
            for case, subjects in report.results.items()
        },
        "skipped": dict(report.skipped),
        "failures": list(report.failures),
        **({"incomplete": True} if report.is_incomplete else {}),
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
