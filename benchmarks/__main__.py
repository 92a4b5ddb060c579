"""`python -m benchmarks [SCENARIO]`: measure, print a table, write JSON.

Without a scenario all of them are run (`benchmarks.everything`).  `guard` counts instead of timing
(`benchmarks.guard.command`); `compare` and `page` read what was written before.

Exit codes: 0 everything asked for was measured, targets met or not; 1 something could not be
measured; 2 wrong arguments; 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import trio
from rich.console import Console
from rich.markup import escape

from benchmarks.cases import Settings, known_subjects
from benchmarks.compare import add_compare_command
from benchmarks.everything import Everything, Store, jobs_of, run_everything
from benchmarks.guard.command import add_guard_command
from benchmarks.idle.command import add_idle_command
from benchmarks.listing import print_list
from benchmarks.page.command import add_page_command
from benchmarks.paths.command import add_paths_command
from benchmarks.processes import BenchmarkError, open_fleet
from benchmarks.progress import open_progress
from benchmarks.records import RESULTS
from benchmarks.report import print_report, write_json
from benchmarks.resume.command import add_resume_command
from benchmarks.runner import Log, Plan, report_of, run_plan
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.stopping import watch_signals

ALL = "all"
"""What `--subjects` takes for every subject, also those that a plain run leaves out."""

_FLAG = re.compile(r"--[a-z-]+")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser, commands = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        return _run_all(parser, commands, options)
    _check_no_flags_of_all(parser, options)
    if "run" in options:
        return int(options.run(options))
    _check_json(parser, options.json)
    scenario: Scenario = options.scenario
    cases = scenario.cases_named(options.only or (), is_quick=options.quick)
    settings = (Settings.quick if options.quick else Settings.full)(options.rounds)
    plan = Plan(scenario, cases, options.subjects, settings, options.quick)
    return trio.run(_run, plan, options.json)


def _check_no_flags_of_all(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program if a flag of a run of everything stands before the name of a command."""
    flags = ("quick", "json", "rounds", "list")
    given = [flag for flag in flags if getattr(options, f"all_{flag}")]
    if given:
        parser.error(f"--{given[0]} before {options.command} says nothing: put it after the name")


def _check_json(parser: argparse.ArgumentParser, path: Path | None) -> None:
    if path is not None and not path.absolute().parent.is_dir():
        parser.error(f"--json: the folder of {path} does not exist")


def _run_all(
    parser: argparse.ArgumentParser,
    commands: Mapping[str, argparse.ArgumentParser],
    options: argparse.Namespace,
) -> int:
    """Run every scenario, or list them."""
    flags = {name: _FLAG.findall(one.format_usage()) for name, one in commands.items()}
    quick, rounds = options.all_quick, options.all_rounds
    if options.all_list:
        names = [job.name for job in jobs_of(flags, quick=False)]
        return print_list(Console(width=None if sys.stdout.isatty() else 150), names)
    _check_json(parser, options.all_json)
    started = datetime.now().astimezone()
    settings = {"quick": quick, "rounds": rounds}
    run = Everything(jobs_of(flags, quick=quick, rounds=rounds), settings, started)
    keeps = options.all_json is not None or not quick
    store = Store(options.all_json, RESULTS, f"{started:%Y-%m-%d}") if keeps else None
    return run_everything(run, main, store, Console(stderr=True))


def _parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """Return the reader of command lines, and that of each command below it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the programs of this project: beside others, and over each carrier. "
        "Without a scenario all are run, and the figures written to benchmarks/results/.",
        epilog="benchmarks/README.md says what each case is and how to read the table.",
    )
    _add_flags_of_all(parser)
    commands = parser.add_subparsers(dest="command", metavar="SCENARIO")
    for scenario in SCENARIOS:
        command = commands.add_parser(scenario.name, help=scenario.about)
        command.set_defaults(scenario=scenario)
        _add_flags(command, scenario)
    add_idle_command(commands, _list_of, _positive)
    add_paths_command(commands, _list_of, _positive)
    add_resume_command(commands, _list_of, _positive)
    add_guard_command(commands)
    add_compare_command(commands)
    add_page_command(commands)
    return parser, commands.choices


def _add_flags_of_all(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick",
        dest="all_quick",
        action="store_true",
        help="what matters, in less than two minutes; written only where --json says",
    )
    parser.add_argument(
        "--json",
        dest="all_json",
        type=Path,
        metavar="FILE",
        help="write the figures to FILE instead of benchmarks/results/DATE.json",
    )
    parser.add_argument(
        "--rounds", dest="all_rounds", type=_positive, metavar="N", help="of every scenario"
    )
    parser.add_argument(
        "--list",
        dest="all_list",
        action="store_true",
        help="show scenarios, cases and subjects, and what is installed",
    )


def _add_flags(parser: argparse.ArgumentParser, scenario: Scenario) -> None:
    names = [case.name for case in scenario.cases]
    subjects = known_subjects(scenario.cases)
    parser.add_argument(
        "--quick", action="store_true", help="two rounds of 1 s of the main cases, within 100 s"
    )
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
    """Measure under a watch for signals; whatever happens, leave no process and no file.

    What was measured before a signal is reported, marked incomplete.
    """
    errors = Console(stderr=True)
    stopped_by: list[int] = []
    log = Log()
    is_measured = False
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, nursery.cancel_scope, stopped_by)
        is_measured = await _measure(plan, errors, log)
        nursery.cancel_scope.cancel()
    if stopped_by:
        errors.print("stopped; all processes have been ended")
    if not (is_measured or (stopped_by and log.samples)):
        return 128 + stopped_by[0] if stopped_by else 1
    report = report_of(plan, log)
    report.is_incomplete = bool(stopped_by)
    print_report(report, Console(width=None if sys.stdout.isatty() else 150))
    if json_path is not None:
        write_json(report, json_path)
    if stopped_by:
        return 128 + stopped_by[0]
    return 1 if report.failures or report.skipped else 0


async def _measure(plan: Plan, errors: Console, log: Log) -> bool:
    """Measure into *log*; say what went wrong and return False where nothing could be measured."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        try:
            with open_progress(errors) as progress:
                async with open_fleet(Path(folder)) as fleet:
                    await run_plan(plan, fleet, progress, log)
                    return True
        except* BenchmarkError as group:
            for error in group.exceptions:
                errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
    return False


if __name__ == "__main__":
    sys.exit(main())
