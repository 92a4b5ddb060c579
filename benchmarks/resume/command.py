"""The command `python -m benchmarks resume`; its exit codes are those of the others."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import trio
from rich.console import Console
from rich.markup import escape

from benchmarks.processes import BenchmarkError
from benchmarks.progress import open_progress
from benchmarks.resume.cases import CASES, SUBJECTS, Settings
from benchmarks.resume.report import ResumeReport
from benchmarks.resume.run import ResumePlan, run_resume
from benchmarks.stopping import watch_signals

__all__ = ["add_resume_command"]


def add_resume_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    names_of: Callable[[list[str]], Callable[[str], list[str]]],
    whole: Callable[[str], int],
) -> None:
    """Add the command; the readers of names and numbers are those of the other commands."""
    parser = commands.add_parser(
        "resume",
        help="how long bytes stop when a link, a broker or a path is lost, and whether all arrive",
    )
    parser.set_defaults(run=_main)
    parser.add_argument("--quick", action="store_true", help="two rounds, in two minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    choices = (
        ("--only", "CASE", "cases", [case.name for case in CASES]),
        ("--subjects", "SUBJECT", "subjects", list(SUBJECTS)),
    )
    for flag, metavar, what, names in choices:
        parser.add_argument(
            flag,
            type=names_of(names),
            default=names,
            metavar=f"{metavar},..",
            help=f"{what} to measure: {','.join(names)}",
        )
    parser.add_argument("--rounds", type=whole, metavar="N", help="7, or 2 with --quick")


def _main(options: argparse.Namespace) -> int:
    if options.json is not None and not options.json.absolute().parent.is_dir():
        print(f"error: --json: the folder of {options.json} does not exist", file=sys.stderr)
        return 2
    settings = (Settings.quick if options.quick else Settings.full)(options.rounds)
    plan = ResumePlan(options.only, options.subjects, settings, options.quick)
    return trio.run(_run, plan, options.json)


async def _run(plan: ResumePlan, json_path: Path | None) -> int:
    """Measure under a watch for signals; whatever happens, leave no process and no file.

    What was measured before a signal is reported, marked incomplete.
    """
    errors = Console(stderr=True)
    stopped_by: list[int] = []
    kept: list[ResumeReport] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, nursery.cancel_scope, stopped_by)
        await _measure(plan, errors, kept.append)
        nursery.cancel_scope.cancel()
    if stopped_by:
        errors.print("stopped; all processes have been ended")
    for report in kept:
        report.show(Console(width=None if sys.stdout.isatty() else 150))
        if json_path is not None:
            report.write(json_path)
    if stopped_by:
        return 128 + stopped_by[0]
    return 0 if kept and kept[0].is_complete else 1


async def _measure(plan: ResumePlan, errors: Console, keep: Callable[[ResumeReport], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        try:
            with open_progress(errors) as progress:
                await run_resume(plan, Path(folder), progress, keep)
        except BenchmarkError as error:
            errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
