"""The report of a scenario that compares subjects: tables for a reader, JSON for a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from benchmarks.cases import Case, known_subjects
from benchmarks.reporting import RunReport
from benchmarks.scenarios import Scenario
from benchmarks.stats import Results, Summary, Verdict, ratio_name, ratios_of, verdicts_of

__all__ = [
    "Report",
    "format_figure",
    "format_milliseconds",
    "format_verdict",
    "summary_json",
]

OTHERS_BESIDE = 4
"""How many subjects stand beside the first one in a table: more are wider than a terminal."""


@dataclass(slots=True, kw_only=True)
class Report(RunReport):
    """What one run of a scenario found out."""

    scenario: Scenario
    cases: Sequence[Case]
    results: Results

    @property
    def name(self) -> str:
        return self.scenario.name

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The targets of the cases that were run."""
        return verdicts_of(self.results, self.scenario.targets, self.cases)

    @property
    def ratios(self) -> dict[str, dict[str, float]]:
        """Case, then name, to each ratio that could be made."""
        return ratios_of(self.results, self.cases)

    @property
    def conditions(self) -> str:
        return f"medians of {self.settings.get('rounds')} interleaved rounds"

    def tables(self) -> Iterable[Table]:
        return [_figures_table(self, subjects) for subjects in _columns(self)]

    def figures(self) -> dict[str, object]:
        return {
            "results": {
                case: {subject: summary_json(summary) for subject, summary in subjects.items()}
                for case, subjects in self.results.items()
            },
            "ratios": self.ratios,
            "targets": [_verdict_json(verdict) for verdict in self.verdicts],
        }


def summary_json(summary: Summary) -> dict[str, object]:
    """Return a figure as plain values."""
    figures: dict[str, object] = {"median": summary.median, "unit": summary.unit}
    return {**figures, "rounds": list(summary.rounds), **dict(summary.extras)}


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    target = verdict.target
    where = {"case": target.case, "ratio": target.name, "target": target.ratio}
    how = {"metric": target.metric, "at_most": target.is_at_most}
    return {**where, **how, "reached": verdict.reached, "met": verdict.met}


def format_figure(value: float) -> str:
    """Three significant digits, thousands as k: 45_231 becomes "45.2 k"."""
    if value >= 1000:
        thousands = value / 1000
        return f"{thousands:.0f} k" if thousands >= 100 else f"{thousands:.3g} k"
    return f"{value:.3g}"


def format_milliseconds(value: float) -> str:
    """Three significant digits in the unit that fits: 1_530 becomes "1.53 s"."""
    return f"{value / 1000:.3g} s" if value >= 1000 else f"{value:.3g} ms"


def format_verdict(verdict: Verdict) -> str:
    """What became of one target, in a few words marked up for rich."""
    most = "at most " if verdict.target.is_at_most else ""
    goal = f"target {most}{verdict.target.ratio:g}"
    if verdict.reached is None:
        return f"[dim]{goal}: not measured[/]"
    if verdict.met:
        return f"[green]{goal}: met[/]"
    missed = "over" if verdict.target.is_at_most else "short"
    return f"[red]{goal}: {missed} by {verdict.shortfall:.0%}[/]"


def _columns(report: Report) -> list[list[str]]:
    """Return the subjects of each table: the first of all beside a few of the others.

    A subject that a plain run leaves out has a column only where it was measured.
    """
    measured = {subject for figures in report.results.values() for subject in figures}
    shown = measured.union(report.scenario.subjects)
    first, *others = (name for name in known_subjects(report.cases) if name in shown)
    starts = range(0, max(1, len(others)), OTHERS_BESIDE)
    return [[first, *others[start : start + OTHERS_BESIDE]] for start in starts]


def _figures_table(report: Report, subjects: Sequence[str]) -> Table:
    table = Table(title="median, slowest - fastest round", title_justify="left")
    table.add_column("case", no_wrap=True)
    for subject in subjects:
        table.add_column(subject, justify="right", no_wrap=True)
    table.add_column("ratios of medians", no_wrap=True)
    for case in report.cases:
        figures = report.results.get(case.name, {})
        unit = next((summary.unit for summary in figures.values()), "")
        table.add_row(
            f"{case.name}\n[dim]{unit}[/]",
            *(_figure_cell(figures.get(subject)) for subject in subjects),
            _ratio_cell(report, case, subjects),
        )
    return table


def _figure_cell(summary: Summary | None) -> str:
    if summary is None:
        return "[dim]-[/]"
    slowest, fastest = (format_figure(value) for value in summary.spread)
    lines = [f"[bold]{format_figure(summary.median)}[/]", f"[dim]{slowest} - {fastest}[/]"]
    lines += [f"[dim]{text}[/]" for text in _extra_texts(dict(summary.extras))]
    return "\n".join(lines)


def _extra_texts(extras: Mapping[str, float]) -> list[str]:
    """What is shown below a figure: how long an answer took, and what one cost."""
    forms = {
        "p50_us": "p50 {:.0f} µs",
        "added_p50_us": "p50 {:+.0f} µs",
        "added_p99_us": "p99 {:+.0f} µs",
        "cpu_us": "cpu {:.1f} µs",
        "cpu_s_per_gb": "cpu {:.2f} s/GB",
        "broker_cpu_us": "broker {:.1f} µs",
        "broker_cpu_s_per_gb": "broker {:.2f} s/GB",
        "bulk_gbit_s": "bulk {:.2f} Gbit/s",
    }
    return [form.format(extras[name]) for name, form in forms.items() if name in extras]


def _ratio_cell(report: Report, case: Case, subjects: Sequence[str]) -> str:
    """One line for each pair of `subjects`; the ceiling of the machine is no rival."""
    rivals = set(subjects) - {report.scenario.ceiling}
    names = [ratio_name(*pair) for pair in case.ratios if rivals.issuperset(pair)]
    found = report.ratios.get(case.name, {})
    ratios = {name: found.get(name) for name in names}
    verdicts = {v.target.name: v for v in report.verdicts if v.target.case == case.name}
    for name, verdict in verdicts.items():
        if rivals.issuperset((verdict.target.subject, verdict.target.peer)):
            ratios.setdefault(name, verdict.reached)
    lines = (_ratio_line(name, ratio, verdicts.get(name)) for name, ratio in ratios.items())
    return "\n".join(filter(None, lines))


def _ratio_line(name: str, ratio: float | None, verdict: Verdict | None) -> str:
    words = [] if ratio is None else [f"{name} = {ratio:.2f}"]
    if verdict is not None:
        words += [name] if ratio is None else []
        words.append(format_verdict(verdict))
    return "  ".join(words)
