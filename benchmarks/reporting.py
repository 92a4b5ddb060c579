"""What every report of a measuring command has: what was not measured, the machine, and JSON."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["RunReport"]


@dataclass(slots=True, kw_only=True)
class RunReport(ABC):
    """Everything that one run found out; each command adds its figures."""

    machine: Mapping[str, object]
    settings: Mapping[str, object]
    skipped: Mapping[str, str] = field(default_factory=dict)
    """What was not measured at all, with the reason."""
    failures: Sequence[str] = ()
    """Measurements that went wrong while others of the same kind succeeded."""
    is_incomplete: bool = False
    """Whether the run was stopped before its end."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The scenario."""

    @abstractmethod
    def tables(self) -> Iterable[Table]:
        """Return the tables for a reader."""

    @abstractmethod
    def figures(self) -> dict[str, object]:
        """Return the figures as plain values, beside what every report has."""

    def notes(self) -> Iterable[str]:
        """Return what else a reader has to know, marked up for rich."""
        return ()

    @property
    def conditions(self) -> str:
        """In a few words, of what the figures are medians."""
        return f"medians of {self.settings.get('rounds')} rounds"

    @property
    def is_complete(self) -> bool:
        """Whether everything asked for was measured."""
        return not (self.failures or self.skipped or self.is_incomplete)

    def show(self, console: Console) -> None:
        """Print the tables, what was not measured, and the machine."""
        for table in self.tables():
            console.print(table)
        for name, reason in self.skipped.items():
            console.print(f"[yellow]not measured[/] {name}: {escape(reason)}", highlight=False)
        for note in self.notes():
            console.print(note, highlight=False)
        for failure in self.failures:
            console.print(f"[red]failed[/] {escape(failure)}", highlight=False)
        facts = self.machine
        console.print(
            f"[dim]{facts.get('cpu')}, {facts.get('cores')} cores, kernel {facts.get('kernel')}, "
            f"Python {facts.get('python')}, Trio {facts.get('trio')}; {self.conditions}[/]",
            highlight=False,
        )

    def to_json(self) -> dict[str, object]:
        """Return the report as plain values; benchmarks/README.md lists the keys."""
        return {
            "scenario": self.name,
            "machine": dict(self.machine),
            "settings": dict(self.settings),
            **self.figures(),
            "skipped": dict(self.skipped),
            "failures": list(self.failures),
            **({"incomplete": True} if self.is_incomplete else {}),
        }

    def write(self, path: Path) -> None:
        """Write the report for a program to read.

        Raises:
            OSError: the file cannot be written.
        """
        path.write_text(json.dumps(self.to_json(), indent=2) + "\n")
