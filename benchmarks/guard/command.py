"""`python -m benchmarks guard`: count, compare with guard.json, and say which count is outside.

Exit codes: 0 all counts are within their tolerance; 1 one is not, or nothing could be counted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.processes import BenchmarkError

from .loads import LOADS, TIMED, cost_ratio, count
from .verdicts import Figures, Finding, compare, cost_warnings

__all__ = ["GUARD_FILE", "add_guard_command", "run_guard"]

GUARD_FILE: Final = Path(__file__).resolve().parent.parent / "guard.json"
UPDATE: Final = "python -m benchmarks guard --update"


def add_guard_command(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "guard", help="count system calls, wake-ups and steps, and compare with guard.json"
    )
    parser.add_argument(
        "--update", action="store_true", help="store what is counted now in benchmarks/guard.json"
    )
    parser.set_defaults(run=lambda options: run_guard(update=options.update))


def run_guard(*, update: bool = False, file: Path = GUARD_FILE) -> int:
    """Count, and compare or store; print the outcome and return the exit code."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        now = {load.name: count(load) for load in LOADS}
        costs = {load.name: cost_ratio(load) for load in TIMED}
        stored = _read(file)
    except BenchmarkError as error:
        console.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        return 1
    before: Figures = stored.get("counts", {})
    findings = compare(before, now, same_python=stored.get("python") == _python())
    console.print(_table(findings))
    told = ", ".join(f"{name} {cost:g}" for name, cost in costs.items())
    console.print(f"processor time, × that straight to the target: {told}", highlight=False)
    if update:
        _write(file, now, costs)
        console.print(f"stored in {file.name}: say in the commit why a count changed")
        return 0
    for text in cost_warnings(stored.get("cost_ratios", {}), costs):
        console.print(f"[yellow]warning:[/] {escape(text)}", highlight=False)
    return _tell(findings, console)


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _read(file: Path) -> dict[str, Any]:
    """Return what is stored; nothing where there is no file."""
    try:
        stored = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BenchmarkError(f"{file.name} is no JSON ({error}); write it anew: {UPDATE}") from None
    if not isinstance(stored, dict):
        raise BenchmarkError(f"{file.name} holds no figures; write it anew: {UPDATE}")
    return stored


def _write(file: Path, counts: Figures, costs: Mapping[str, float]) -> None:
    figures = {"python": _python(), "counts": counts, "cost_ratios": costs}
    file.write_text(json.dumps(figures, indent=2) + "\n")


def _table(findings: Sequence[Finding]) -> Table:
    units = {load.name: load.unit for load in LOADS}
    table = Table(title="What the data plane does, counted")
    for name in ("load", "count", "stored", "now", "change", ""):
        table.add_column(name, justify="left" if name in ("load", "count", "") else "right")
    for one in findings:
        figures = ["" if figure is None else f"{figure:.3f}" for figure in (one.stored, one.now)]
        change = "" if one.change is None else f"{one.change:+.1%}"
        colour = "red" if one.is_red else "green" if one.state == "ok" else "yellow"
        count_name = f"{one.count} per {units.get(one.load, 'unit')}"
        table.add_row(one.load, count_name, *figures, change, f"[{colour}]{one.state}[/]")
    return table


def _tell(findings: Sequence[Finding], console: Console) -> int:
    """Say what is outside, and what to do."""
    red = [one for one in findings if one.is_red]
    for one in findings:
        if one.state != "ok":
            word = "[red]outside:[/]" if one.is_red else "[yellow]warning:[/]"
            console.print(f"{word} {escape(str(one))}", highlight=False)
    if not red:
        console.print("all counts are within their tolerance")
        return 0
    console.print(
        f"{len(red)} counts are outside. If that is meant, store the new ones: {UPDATE}",
        highlight=False,
    )
    return 1
