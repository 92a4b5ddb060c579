"""The commands of scenarios that compare subjects: `spine`, `beside`, `sessions`, `carriers`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.progress import Progress

from benchmarks.cases import Settings, known_subjects
from benchmarks.commands import Choice, Command, Kept
from benchmarks.processes import open_fleet
from benchmarks.runner import Log, Plan, report_of, run_plan
from benchmarks.scenarios import Scenario

__all__ = ["ALL", "comparison"]

ALL = "all"
"""What `--subjects` takes for every subject, also those that a plain run leaves out."""


def comparison(scenario: Scenario) -> Command:
    """Return the command of *scenario*."""

    async def measure(
        options: argparse.Namespace, folder: Path, progress: Progress, keep: Callable[[Kept], None]
    ) -> None:
        cases = scenario.cases_named(options.only, is_quick=options.quick)
        settings = (Settings.quick if options.quick else Settings.full)(options.rounds)
        plan = Plan(scenario, cases, options.subjects, settings, options.quick)
        log = Log()
        is_incomplete = True
        try:
            async with open_fleet(folder) as fleet:
                await run_plan(plan, fleet, progress, log)
            is_incomplete = False
        finally:
            if log.samples or not is_incomplete:
                keep(report_of(plan, log, is_incomplete=is_incomplete))

    return Command(
        scenario.name,
        scenario.about,
        measure,
        quick="two rounds of 1 s of the main cases, within 100 s",
        rounds="5, or 2 with --quick",
        choices=(
            Choice("--only", "CASE", "cases to run", [c.name for c in scenario.cases], default=()),
            Choice(
                "--subjects",
                "SUBJECT",
                "subjects to measure",
                known_subjects(scenario.cases),
                everything=ALL,
                default=scenario.subjects,
                more=f" (these without the flag), {','.join((*scenario.extra, ALL))}",
            ),
        ),
    )
