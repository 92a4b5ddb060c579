"""The command `python -m benchmarks idle`; its exit codes are those of the others."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import trio
from rich.console import Console
from rich.markup import escape

from benchmarks.idle.cases import Settings, known_cases
from benchmarks.idle.report import IdleReport
from benchmarks.idle.run import IdlePlan, run_idle
from benchmarks.processes import BenchmarkError
from benchmarks.progress import open_progress
from benchmarks.stopping import watch_signals

__all__ = ["add_idle_command"]


def add_idle_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    names_of: Callable[[list[str]], Callable[[str], list[str]]],
    whole: Callable[[str], int],
) -> None:
    """Add the command; the readers of names and numbers are those of the other commands."""
    parser = commands.add_parser(
        "idle",
        help="the memory of idle streams, links, sessions and programs, and how often they wake up",
    )
    parser.set_defaults(run=_main)
    names = known_cases()
    listed = ",".join(names)
    parser.add_argument("--quick", action="store_true", help="a tenth as many, within a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--only",
        type=names_of(names),
        default=names,
        metavar="CASE,..",
        help=f"cases to run: {listed}",
    )
    parser.add_argument("--rounds", type=whole, metavar="N", help="3, or 1 with --quick")
    parser.add_argument(
        "--trace",
        action="store_true",
        help="also name the lines that allocated the memory; tracing changes the other figures",
    )


def _main(options: argparse.Namespace) -> int:
    if options.json is not None and not options.json.absolute().parent.is_dir():
        print(f"error: --json: the folder of {options.json} does not exist", file=sys.stderr)
        return 2
    settings = (Settings.quick if options.quick else Settings.full)(options.rounds)
    return trio.run(_run, IdlePlan(options.only, settings, options.trace), options.json)


async def _run(plan: IdlePlan, json_path: Path | None) -> int:
    """Measure under a watch for signals; whatever happens, leave no process and no file.

    What was measured before a signal is reported, marked incomplete.
    """
    errors = Console(stderr=True)
    stopped_by: list[int] = []
    kept: list[IdleReport] = []
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


async def _measure(plan: IdlePlan, errors: Console, keep: Callable[[IdleReport], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        try:
            with open_progress(errors) as progress:
                await run_idle(plan, Path(folder), progress, keep)
        except BenchmarkError as error:
            errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
