"""What every measuring command of `python -m benchmarks` shares: flags, signals, files, exit codes.

How it works
------------
A command says what it is called, what it can be asked for, and how it measures: a function that
takes the options, a folder for files, a progress to show, and `keep`, to which it gives its report
once: also where it is stopped in the middle, marked incomplete.  Everything else is here: the
measurement runs under a watch for signals, what was kept is shown and written, and the exit code is
0 where everything asked for was measured, 1 where something was not, 128 and the signal's number
where one came.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import trio
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from benchmarks.processes import BenchmarkError
from benchmarks.progress import open_progress
from benchmarks.stopping import watch_signals

__all__ = ["Choice", "Command", "Kept", "Measure", "add_command", "list_of", "positive"]

PLAIN_WIDTH = 170
"""Columns of a table that goes to a file."""


class Kept(Protocol):
    """The report of a command."""

    @property
    def is_complete(self) -> bool:
        """Whether everything asked for was measured."""

    def show(self, console: Console) -> None:
        """Print the tables, and what stands below them."""

    def write(self, path: Path) -> None:
        """Write the figures for a program to read."""


Measure: TypeAlias = Callable[
    [argparse.Namespace, Path, Progress, Callable[[Kept], None]], Awaitable[None]
]
"""Takes the options, a folder, a progress and `keep`; raises BenchmarkError where nothing can be
measured at all."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A flag that takes some of the names of one kind."""

    flag: str
    metavar: str
    about: str
    names: Sequence[str]
    everything: str = ""
    """The word that stands for all names; "": there is none."""
    default: Sequence[str] | None = None
    """What is taken without the flag; None: all."""
    more: str = ""
    """What the help says after the names."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command that measures."""

    name: str
    about: str
    measure: Measure
    quick: str
    """What `--quick` means."""
    rounds: str = ""
    """How many rounds there are without `--rounds`; "": there is no such flag."""
    choices: Sequence[Choice] = ()
    switches: Mapping[str, str] = field(default_factory=dict)
    """Further flags without a value, and what they mean."""


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], command: Command
) -> None:
    """Add *command* to the command line; its `run` returns the exit code."""
    parser = commands.add_parser(command.name, help=command.about)
    parser.set_defaults(run=lambda options: _main(command, options))
    parser.add_argument("--quick", action="store_true", help=command.quick)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    for choice in command.choices:
        parser.add_argument(
            choice.flag,
            type=list_of(choice.names, choice.everything),
            default=list(choice.names if choice.default is None else choice.default),
            metavar=f"{choice.metavar},..",
            help=f"{choice.about}: {','.join(choice.default or choice.names)}{choice.more}",
        )
    if command.rounds:
        parser.add_argument("--rounds", type=positive, metavar="N", help=command.rounds)
    for flag, about in command.switches.items():
        parser.add_argument(flag, action="store_true", help=about)


def list_of(known: Sequence[str], everything: str = "") -> Callable[[str], list[str]]:
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


def positive(text: str) -> int:
    """Read a number of rounds."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one round is needed")
    return number


def _main(command: Command, options: argparse.Namespace) -> int:
    if options.json is not None and not options.json.absolute().parent.is_dir():
        print(f"error: --json: the folder of {options.json} does not exist", file=sys.stderr)
        return 2
    return trio.run(_run, command, options)


async def _run(command: Command, options: argparse.Namespace) -> int:
    """Measure under a watch for signals; whatever happens, leave no process and no file."""
    errors = Console(stderr=True)
    stopped_by: list[int] = []
    kept: list[Kept] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, nursery.cancel_scope, stopped_by)
        await _measure(command, options, errors, kept.append)
        nursery.cancel_scope.cancel()
    if stopped_by:
        errors.print("stopped; all processes have been ended")
    for report in kept:
        report.show(Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH))
        if options.json is not None:
            report.write(options.json)
    if stopped_by:
        return 128 + stopped_by[0]
    return 0 if kept and kept[0].is_complete else 1


async def _measure(
    command: Command, options: argparse.Namespace, errors: Console, keep: Callable[[Kept], None]
) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        try:
            with open_progress(errors) as progress:
                await command.measure(options, Path(folder), progress, keep)
        except* BenchmarkError as group:
            for error in group.exceptions:
                errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
