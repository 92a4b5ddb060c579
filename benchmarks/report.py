"""The report: tables for a reader, JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.cases import SUBJECTS, Case
from benchmarks.stats import Results, Summary, Verdict, ratios_of, verdicts_of

__all__ = ["Report", "format_figure", "format_verdict", "print_report", "to_json", "write_json"]


@dataclass(slots=True)
class Report:
    """Everything that one run found out."""

    machine: Mapping[str, object]
    settings: Mapping[str, object]
    cases: Sequence[Case]
    results: Results
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Subjects and routes that were not measured, with the reason."""
    failures: Sequence[str] = ()
    """Measurements that went wrong while others of the same subject succeeded."""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The targets of the cases that were run."""
        return verdicts_of(ratios_of(self.results), [case.name for case in self.cases])


def to_json(report: Report) -> dict[str, object]:
    """Return the report as plain values; benchmarks/README.md lists the keys."""
    return {
        "machine": dict(report.machine),
        "settings": dict(report.settings),
        "results": {
            case: {subject: _summary_json(summary) for subject, summary in subjects.items()}
            for case, subjects in report.results.items()
        },
        "ratios": ratios_of(report.results),
        "targets": [_verdict_json(verdict) for verdict in report.verdicts],
        "skipped": dict(report.skipped),
        "failures": list(report.failures),
    }


def _summary_json(summary: Summary) -> dict[str, object]:
    figures: dict[str, object] = {"median": summary.median, "unit": summary.unit}
    return {**figures, "rounds": list(summary.rounds), **dict(summary.extras)}


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    target = verdict.target
    where = {"case": target.case, "ratio": f"ours/{target.peer}", "target": target.ratio}
    return {**where, "reached": verdict.reached, "met": verdict.met}


def write_json(report: Report, path: Path) -> None:
    """Write the report for a program to read.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_text(json.dumps(to_json(report), indent=2) + "\n")


def format_figure(value: float) -> str:
    """Three significant digits, thousands as k: 45_231 becomes "45.2 k"."""
    if value >= 1000:
        thousands = value / 1000
        return f"{thousands:.0f} k" if thousands >= 100 else f"{thousands:.3g} k"
    return f"{value:.3g}"


def format_verdict(verdict: Verdict) -> str:
    """What became of one target, in a few words marked up for rich."""
    goal = f"target {verdict.target.ratio:g}"
    if verdict.reached is None:
        return f"[dim]{goal}: not measured[/]"
    if verdict.met:
        return f"[green]{goal}: met[/]"
    return f"[red]{goal}: short by {verdict.shortfall:.0%}[/]"


def print_report(report: Report, console: Console) -> None:
    """Print the table of figures and targets, what was not measured, and the machine."""
    console.print(_figures_table(report))
    for name, reason in report.skipped.items():
        console.print(f"[yellow]not measured[/] {name}: {escape(reason)}", highlight=False)
    for failure in report.failures:
        console.print(f"[red]failed[/] {escape(failure)}", highlight=False)
    facts = report.machine
    console.print(
        f"[dim]{facts.get('cpu')}, {facts.get('cores')} cores, kernel {facts.get('kernel')}, "
        f"Python {facts.get('python')}, Trio {facts.get('trio')}; "
        f"medians of {report.settings.get('rounds')} interleaved rounds[/]",
        highlight=False,
    )


def _figures_table(report: Report) -> Table:
    table = Table(title="median, slowest - fastest round", title_justify="left")
    table.add_column("case", no_wrap=True)
    for subject in SUBJECTS:
        table.add_column(subject, justify="right", no_wrap=True)
    table.add_column("ours / peer", no_wrap=True)
    ratios = ratios_of(report.results)
    for case in report.cases:
        figures = report.results.get(case.name, {})
        unit = next((summary.unit for summary in figures.values()), "")
        verdicts = [v for v in report.verdicts if v.target.case == case.name]
        table.add_row(
            f"{case.name}\n[dim]{unit}[/]",
            *(_figure_cell(figures.get(subject)) for subject in SUBJECTS),
            _ratio_cell(case, ratios.get(case.name, {}), verdicts),
        )
    return table


def _figure_cell(summary: Summary | None) -> str:
    if summary is None:
        return "[dim]-[/]"
    slowest, fastest = (format_figure(value) for value in summary.spread)
    extras = dict(summary.extras)
    latency = f"\n[dim]p50 {extras['p50_us']:.0f} µs[/]" if "p50_us" in extras else ""
    return f"[bold]{format_figure(summary.median)}[/]\n[dim]{slowest} - {fastest}[/]{latency}"


def _ratio_cell(case: Case, ratios: Mapping[str, float], verdicts: Sequence[Verdict]) -> str:
    """One line for each relay that we are compared with; `direct` is a ceiling, not a rival."""
    by_peer = {verdict.target.peer: verdict for verdict in verdicts}
    lines: list[str] = []
    for peer in (name for name in case.peers if name != "direct"):
        ratio = ratios.get(f"ours/{peer}")
        words = [] if ratio is None else [f"{ratio:.2f} x {peer}"]
        if peer in by_peer:
            words += [peer] if ratio is None else []
            words.append(format_verdict(by_peer[peer]))
        lines += ["  ".join(words)] if words else []
    return "\n".join(lines)
