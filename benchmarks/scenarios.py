"""The scenarios: what each command compares, and what it has to reach (no I/O)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cases import (
    BESIDE_CASES,
    CARRIER_CASES,
    DIRECT,
    HTTP_CASES,
    MORE_PEERS,
    SESSION_CASES,
    SPINE_CASES,
    Case,
    known_subjects,
)
from benchmarks.stats import Target
from benchmarks.targets import BESIDE_TARGETS, CARRIER_TARGETS, HTTP_TARGETS, SPINE_TARGETS

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One command of the benchmarks."""

    name: str
    about: str
    cases: tuple[Case, ...]
    targets: tuple[Target, ...]
    ceiling: str = ""
    """A subject that no row of the table is divided by: it is no rival."""

    extra: tuple[str, ...] = ()
    """Subjects that are measured only where they are asked for."""

    @property
    def subjects(self) -> list[str]:
        """The subjects of a plain run, in the order of the report."""
        return [name for name in known_subjects(self.cases) if name not in self.extra]

    def cases_named(self, names: Sequence[str], *, is_quick: bool = False) -> list[Case]:
        """Return the cases with these names; without any, all, or the main ones of a quick run.

        A scenario without main cases has none that it could leave out.
        """
        if names:
            return [case for case in self.cases if case.name in names]
        main = [case for case in self.cases if case.is_main]
        return main if is_quick and main else list(self.cases)


SCENARIOS = (
    Scenario(
        "spine",
        "requests, new connections and bytes through entry, link and exit, beside other tunnels",
        SPINE_CASES,
        SPINE_TARGETS,
        ceiling=DIRECT,
        extra=MORE_PEERS,
    ),
    Scenario(
        "carriers",
        "the same over each carrier of a link, beside our own TCP carrier",
        CARRIER_CASES,
        CARRIER_TARGETS,
    ),
    Scenario(
        "beside",
        "a small echo beside bulk streams in the same tunnel, beside other tunnels",
        BESIDE_CASES,
        BESIDE_TARGETS,
        ceiling=DIRECT,
    ),
    Scenario(
        "sessions",
        "what a broker forwards with 10 and 100 sessions through it, beside one session",
        SESSION_CASES,
        (),
    ),
    Scenario(
        "http",
        "a sidecar whose rule looks at every request, beside other proxies that read requests",
        HTTP_CASES,
        HTTP_TARGETS,
        ceiling=DIRECT,
    ),
)
