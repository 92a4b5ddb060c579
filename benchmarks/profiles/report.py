"""The report of `profile`: tables for a reader, JSON for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from benchmarks.profiles.folded import Stacks
from benchmarks.reporting import RunReport

__all__ = ["ProfileReport", "Profiled", "own_shares"]

CALLS_SHOWN = 12
FUNCTIONS_SHOWN = 15


@dataclass(frozen=True, slots=True)
class Profiled:
    """One process under one load; times and calls are those of one *unit*."""

    unit: str
    user_us: float
    system_us: float
    calls: Mapping[str, float]
    """System calls."""
    stacks: Stacks

    def to_json(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "unit": self.unit,
            "user_us": self.user_us,
            "system_us": self.system_us,
            "calls": dict(self.calls),
            "stacks": {";".join(stack): count for stack, count in self.stacks.items()},
        }


def own_shares(stacks: Stacks) -> list[tuple[str, float]]:
    """Return each function with the share of the time that it was the innermost one, most first."""
    total = sum(stacks.values()) or 1
    own: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[stack[-1] if stack else "(elsewhere)"] += count
    return [(name, count / total) for name, count in own.most_common()]


@dataclass(slots=True, kw_only=True)
class ProfileReport(RunReport):
    """What one run found out."""

    results: Mapping[str, Mapping[str, Profiled]]
    """Load, then process."""

    @property
    def name(self) -> str:
        return "profile"

    @property
    def conditions(self) -> str:
        seconds = self.settings.get("seconds")
        return f"stacks of {seconds} s; system calls counted in as long, with the load slowed down"

    def tables(self) -> Iterable[Table]:
        for load, processes in self.results.items():
            yield _calls_table(load, processes)
            yield _functions_table(load, processes)

    def figures(self) -> dict[str, object]:
        return {
            "results": {
                load: {process: found.to_json() for process, found in processes.items()}
                for load, processes in self.results.items()
            }
        }


def _calls_table(load: str, processes: Mapping[str, Profiled]) -> Table:
    unit = next((found.unit for found in processes.values()), "")
    table = Table(title=f"{load}: for one {unit}", title_justify="left")
    table.add_column("what", no_wrap=True)
    for process in processes:
        table.add_column(process, justify="right")
    for title, name in (("user time, µs", "user_us"), ("system time, µs", "system_us")):
        table.add_row(title, *(f"{getattr(one, name):.3g}" for one in processes.values()))
    for call in _most_called(list(processes.values())):
        table.add_row(call, *(f"{one.calls.get(call, 0):.2f}" for one in processes.values()))
    return table


def _most_called(processes: Sequence[Profiled]) -> list[str]:
    total: Counter[str] = Counter()
    for one in processes:
        total.update(one.calls)
    return [name for name, _ in total.most_common(CALLS_SHOWN)]


def _functions_table(load: str, processes: Mapping[str, Profiled]) -> Table:
    table = Table(title=f"{load}: where the processes are", title_justify="left")
    for process in processes:
        table.add_column(process, no_wrap=True)
        table.add_column("", justify="right")
    ranked = [own_shares(one.stacks)[:FUNCTIONS_SHOWN] for one in processes.values()]
    for rank in range(max(map(len, ranked), default=0)):
        cells: list[str] = []
        for rows in ranked:
            name, share = rows[rank] if rank < len(rows) else ("", 0.0)
            cells += [name, f"{share:.1%}" if name else ""]
        table.add_row(*cells)
    return table
