"""`python -m benchmarks SCENARIO`: measure, print a table, write JSON.

`python -m benchmarks guard` counts instead of timing (`benchmarks.guard.command`).

Exit codes: 0 everything asked for was measured, targets met or not; 1 something could not be
measured; 2 wrong arguments; 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import trio
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.cases import Settings, known_subjects
from benchmarks.guard.command import add_guard_command
from benchmarks.idle.command import add_idle_command
from benchmarks.processes import BenchmarkError, open_fleet
from benchmarks.report import Report, print_report, write_json
from benchmarks.runner import Plan, run_plan
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.stopping import watch_signals

ALL = "all"
"""What `--subjects` takes for every subject, also those that a plain run leaves out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if "run" in options:
        return int(options.run(options))
    if options.json is not None and not options.json.absolute().parent.is_dir():
        parser.error(f"--json: the folder of {options.json} does not exist")
    scenario: Scenario = options.scenario
    cases = scenario.cases_named(options.only or ())
    settings = (Settings.quick if options.quick else Settings.full)(options.rounds)
    plan = Plan(scenario, cases, options.subjects, settings, options.quick)
    return trio.run(_run, plan, options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the programs of this project: beside others, and over each carrier.",
        epilog="benchmarks/README.md says what each case is and how to read the table.",
    )
    commands = parser.add_subparsers(required=True, metavar="SCENARIO")
    for scenario in SCENARIOS:
        command = commands.add_parser(scenario.name, help=scenario.about)
        command.set_defaults(scenario=scenario)
        _add_flags(command, scenario)
    add_guard_command(commands)
    add_idle_command(commands, _list_of, _positive)
    return parser


def _add_flags(parser: argparse.ArgumentParser, scenario: Scenario) -> None:
    names = [case.name for case in scenario.cases]
    subjects = known_subjects(scenario.cases)
    parser.add_argument("--quick", action="store_true", help="two rounds of 1 s, within 100 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--only",
        type=_list_of(names),
        metavar="CASE,..",
        help=f"cases to run: {','.join(names)}",
    )
    parser.add_argument(
        "--subjects",
        type=_list_of(subjects, ALL),
        default=scenario.subjects,
        metavar="SUBJECT,..",
        help=_subjects_help(scenario),
    )
    parser.add_argument("--rounds", type=_positive, metavar="N", help="5, or 2 with --quick")


def _subjects_help(scenario: Scenario) -> str:
    words = f"subjects to measure: {','.join(scenario.subjects)}"
    return f"{words} (these without the flag), {','.join((*scenario.extra, ALL))}"


def _list_of(known: Sequence[str], everything: str = "") -> Callable[[str], list[str]]:
    """Return a reader of comma-separated names of `known`; `everything` stands for all of them."""

    def read(text: str) -> list[str]:
        if everything and text == everything:
            return list(known)
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            words = f"unknown: {', '.join(unknown) or '(none given)'}"
            raise argparse.ArgumentTypeError(f"{words}; choose from {', '.join(known)}")
        return names

    return read


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one round is needed")
    return number


async def _run(plan: Plan, json_path: Path | None) -> int:
    """Measure under a watch for signals; whatever happens, leave no process and no file."""
    errors = Console(stderr=True)
    stopped_by: list[int] = []
    report: Report | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, nursery.cancel_scope, stopped_by)
        report = await _measure(plan, errors)
        nursery.cancel_scope.cancel()
    if stopped_by:
        errors.print("stopped; all processes have been ended")
        return 128 + stopped_by[0]
    if report is None:
        return 1
    print_report(report, Console(width=None if sys.stdout.isatty() else 150))
    if json_path is not None:
        write_json(report, json_path)
    return 1 if report.failures or report.skipped else 0


async def _measure(plan: Plan, errors: Console) -> Report | None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        try:
            with Progress(*columns, console=errors, transient=True) as progress:
                async with open_fleet(Path(folder)) as fleet:
                    return await run_plan(plan, fleet, progress)
        except* BenchmarkError as group:
            for error in group.exceptions:
                errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
    return None


if __name__ == "__main__":
    sys.exit(main())
