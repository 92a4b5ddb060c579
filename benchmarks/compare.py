"""`python -m benchmarks compare A.json B.json`: whether two runs agree, figure by figure.

How it works
------------
Two figures *agree* when their rounds overlap: the slowest to the fastest round of one meets that
of the other.  Medians within SAME of one another agree in any case: a spread may be narrow by luck,
and counts of bytes have next to none.  Two single rounds that differ by more tell nothing.

Exit codes: 0 all figures that both files hold agree; 1 one does not, the files have no figure in
common, or one cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.processes import BenchmarkError
from benchmarks.records import Record, figures_of, read_record, write_json_file
from benchmarks.report import format_figure
from benchmarks.stats import Summary

__all__ = ["Pair", "add_compare_command", "pairs_of", "to_json"]

SAME: Final = 0.02
"""Medians that are apart by at most this share are the same."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure in both files; None where a file does not hold it."""

    scenario: str
    names: tuple[str, ...]
    first: Summary | None
    second: Summary | None

    @property
    def change(self) -> float | None:
        """By which share the second median is above the first."""
        if self.first is None or self.second is None or not self.first.median:
            return None
        return self.second.median / self.first.median - 1

    @property
    def agrees(self) -> bool | None:
        """Whether the two agree, or None if that cannot be told."""
        if self.first is None or self.second is None:
            return None
        low = max(self.first.spread[0], self.second.spread[0])
        high = min(self.first.spread[1], self.second.spread[1])
        apart = abs(self.first.median - self.second.median)
        if low <= high or apart <= SAME * abs(self.first.median):
            return True
        is_single = len(self.first.rounds) == len(self.second.rounds) == 1
        return None if is_single else False


def pairs_of(first: Record, second: Record) -> list[Pair]:
    """Return every figure of either file, those of both beside each other."""
    pairs: list[Pair] = []
    for scenario in dict.fromkeys([*first.scenarios, *second.scenarios]):
        one, other = (figures_of(record.results(scenario)) for record in (first, second))
        names = dict.fromkeys([*one, *other])
        pairs += [Pair(scenario, name, one.get(name), other.get(name)) for name in names]
    return pairs


def exit_code(pairs: Sequence[Pair]) -> int:
    """Return 0 if the files have something in common and agree on all of it."""
    common = [pair for pair in pairs if pair.first is not None and pair.second is not None]
    return int(not common or any(pair.agrees is False for pair in common))


def to_json(pairs: Sequence[Pair]) -> dict[str, object]:
    """Return the comparison as plain values; benchmarks/README.md lists the keys."""
    return {
        "agree": exit_code(pairs) == 0,
        "figures": [
            {
                "scenario": pair.scenario,
                "figure": list(pair.names),
                "first": _summary_json(pair.first),
                "second": _summary_json(pair.second),
                "change": pair.change,
                "agrees": pair.agrees,
            }
            for pair in pairs
        ],
    }


def _summary_json(summary: Summary | None) -> dict[str, object] | None:
    if summary is None:
        return None
    return {"median": summary.median, "unit": summary.unit, "rounds": list(summary.rounds)}


def add_compare_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "compare", help="say whether two results files agree within their spreads"
    )
    parser.add_argument("first", type=Path, metavar="A.json")
    parser.add_argument("second", type=Path, metavar="B.json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write it to FILE")
    parser.set_defaults(run=_main)


def _main(options: argparse.Namespace) -> int:
    console = Console(width=None if sys.stdout.isatty() else 150)
    try:
        records = [read_record(path) for path in (options.first, options.second)]
        pairs = pairs_of(*records)
        if options.json is not None:
            write_json_file(to_json(pairs), options.json)
    except (BenchmarkError, OSError) as error:
        Console(stderr=True).print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        return 1
    console.print(_table(pairs))
    console.print(_words(pairs), highlight=False)
    return exit_code(pairs)


def _table(pairs: Sequence[Pair]) -> Table:
    table = Table(title="median, slowest - fastest round", title_justify="left")
    for name in ("scenario", "figure"):
        table.add_column(name)
    for name in ("first", "second", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for pair in pairs:
        change = "" if pair.change is None else f"{pair.change:+.1%}"
        cells = [_cell(pair.first), _cell(pair.second), change, _verdict(pair)]
        table.add_row(pair.scenario, " ".join(pair.names), *cells)
    return table


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return "[dim]-[/]"
    low, high = (format_figure(value) for value in summary.spread)
    return f"[bold]{format_figure(summary.median)}[/]  [dim]{low} - {high}[/]"


def _verdict(pair: Pair) -> str:
    if pair.first is None or pair.second is None:
        return f"[dim]only in the {'second' if pair.first is None else 'first'}[/]"
    words: dict[Any, str] = {
        True: "[green]agree[/]",
        False: "[red]differ[/]",
        None: "[yellow]one round each: unknown[/]",
    }
    return words[pair.agrees]


def _words(pairs: Sequence[Pair]) -> str:
    common = [pair for pair in pairs if pair.first is not None and pair.second is not None]
    if not common:
        return "[red]the files have no figure in common[/]"
    count = sum(pair.agrees is True for pair in common)
    differ = sum(pair.agrees is False for pair in common)
    colour = "red" if differ else "green"
    return (
        f"[{colour}]{count} of {len(common)} figures agree, {differ} differ[/]; "
        f"{len(pairs) - len(common)} are in one file only"
    )
