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
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from benchmarks.commands import add_command, positive
from benchmarks.compare import add_compare_command
from benchmarks.comparing import comparison
from benchmarks.everything import Everything, Store, jobs_of, run_everything
from benchmarks.guard.command import add_guard_command
from benchmarks.idle.command import IDLE
from benchmarks.listing import print_list
from benchmarks.page.command import add_page_command
from benchmarks.paths.command import PATHS
from benchmarks.profiles.command import PROFILE
from benchmarks.records import RESULTS
from benchmarks.resume.command import RESUME
from benchmarks.rpc.command import RPC_COMMAND
from benchmarks.scenarios import SCENARIOS

_FLAG = re.compile(r"--[a-z-]+")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser, commands = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        return _run_all(parser, commands, options)
    _check_no_flags_of_all(parser, options)
    return int(options.run(options))


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
    for command in (*map(comparison, SCENARIOS), RPC_COMMAND, PROFILE, IDLE, PATHS, RESUME):
        add_command(commands, command)
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
        "--rounds", dest="all_rounds", type=positive, metavar="N", help="of every scenario"
    )
    parser.add_argument(
        "--list",
        dest="all_list",
        action="store_true",
        help="show scenarios, cases and subjects, and what is installed",
    )


if __name__ == "__main__":
    sys.exit(main())
