"""The command `python -m benchmarks paths`; its exit codes are those of the others."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import trio
from rich.console import Console
from rich.markup import escape

from benchmarks.paths.cases import PROFILES, ROWS, SUBJECTS, Settings
from benchmarks.paths.report import PathsReport
from benchmarks.paths.run import PathsPlan, run_paths
from benchmarks.processes import BenchmarkError
from benchmarks.progress import open_progress
from benchmarks.stopping import watch_signals

__all__ = ["add_paths_command"]


def add_paths_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    names_of: Callable[[list[str]], Callable[[str], list[str]]],
    whole: Callable[[str], int],
) -> None:
    """Add the command; the readers of names and numbers are those of the other commands."""
    parser = commands.add_parser(
        "paths",
        help="bytes, requests and latency over long and slow paths, beside other tunnels (root)",
    )
    parser.set_defaults(run=_main)
    parser.add_argument("--quick", action="store_true", help="one round of 1 s, in six minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    choices = (
        ("--profiles", "PROFILE", "paths", [profile.name for profile in PROFILES]),
        ("--only", "ROW", "rows", [row.name for row in ROWS]),
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
    parser.add_argument("--rounds", type=whole, metavar="N", help="3, or 1 with --quick")


def _main(options: argparse.Namespace) -> int:
    if options.json is not None and not options.json.absolute().parent.is_dir():
        print(f"error: --json: the folder of {options.json} does not exist", file=sys.stderr)
        return 2
    settings = (Settings.quick if options.quick else Settings.full)(options.rounds)
    plan = PathsPlan(options.profiles, options.only, options.subjects, settings, options.quick)
    return trio.run(_run, plan, options.json)


async def _run(plan: PathsPlan, json_path: Path | None) -> int:
    """Measure under a watch for signals; whatever happens, leave no process and no namespace.

    What was measured before a signal is reported, marked incomplete.
    """
    errors = Console(stderr=True)
    stopped_by: list[int] = []
    kept: list[PathsReport] = []
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


async def _measure(plan: PathsPlan, errors: Console, keep: Callable[[PathsReport], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        try:
            with open_progress(errors) as progress:
                await run_paths(plan, Path(folder), progress, keep)
        except BenchmarkError as error:
            errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
