"""`python -m benchmarks`: all scenarios, one after the other, into one results file.

How it works
------------
A scenario is whatever command takes `--quick` and `--json`.  Each is run by its own command line,
as a user would, with a file of its own for its figures; so one that fails, for whatever reason,
loses nothing of the others.  The results file is written anew after each of them: until the last
one it says under `incomplete` what is missing.  A scenario that is stopped (Ctrl-C) leaves what
it has, and is named there too.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.progress import Overall, format_left, within
from benchmarks.records import Json, free_name, write_json_file
from benchmarks.scenarios import SCENARIOS

__all__ = ["Everything", "Job", "Missing", "jobs_of", "missing_of", "run_everything", "verdicts_in"]

ORDER: Final[Sequence[str]] = (
    "spine",
    "beside",
    "sessions",
    "http",
    "carriers",
    "rpc",
    "profile",
    "paths",
    "resume",
    "idle",
)
"""The main one first; a scenario that is not named here comes after these."""

SECONDS: Final = {
    "spine": 1500,
    "beside": 840,
    "sessions": 120,
    "http": 480,
    "carriers": 330,
    "rpc": 360,
    "profile": 75,
    "paths": 1000,
    "resume": 420,
    "idle": 540,
}
"""What a scenario takes in full, roughly: only the line of the time left is made of it."""

OTHER_SECONDS: Final = 300

WITH_MORE_SUBJECTS: Final = tuple(scenario.name for scenario in SCENARIOS if scenario.extra)
"""Scenarios that leave subjects out unless they are asked for all."""

QUICK: Final[Mapping[str, tuple[Sequence[str], float]]] = {
    "spine": (("--only", "rps_1,rps_32,rps_128,new_conns,bulk"), 60),
    "beside": (
        ("--only", "beside_10", "--subjects", "ours,yamux,openssh_l,openssh_r", "--rounds", "1"),
        20,
    ),
    "carriers": (("--only", "rps_32,bulk", "--subjects", "tcp,tls,ws", "--rounds", "1"), 15),
    "rpc": (("--only", "calls_64", "--rounds", "1"), 6),
    "resume": (("--only", "link_reset", "--subjects", "ours", "--rounds", "1"), 8),
    "idle": (("--only", "programs"), 10),
}
"""What `--quick` runs, and for how many seconds: what matters, in less than two minutes."""

STOPPED: Final = 128
"""Exit codes above it mean that a signal ended a scenario."""

Command = Callable[[Sequence[str]], int]
"""Runs one command line of `python -m benchmarks` and returns its exit code."""


@dataclass(frozen=True, slots=True)
class Job:
    """One scenario of a run of everything."""

    name: str
    arguments: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that was not measured, and why, or how to get it."""

    what: str
    reason: str
    scenarios: tuple[str, ...]


@dataclass(slots=True)
class Everything:
    """What a run of everything found so far."""

    jobs: Sequence[Job]
    settings: Json
    started: datetime
    scenarios: dict[str, Json] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def incomplete(self) -> list[str]:
        """The scenarios that were stopped, or did not run yet."""
        names = [job.name for job in self.jobs]
        return [name for name in names if self.codes.get(name, STOPPED) >= STOPPED]

    @property
    def exit_code(self) -> int:
        """That of the run: a signal's, or 1 where anything asked for was not measured."""
        worst = max(self.codes.values(), default=1)
        return worst if worst >= STOPPED else int(worst != 0)

    def to_json(self) -> dict[str, object]:
        """Return it as plain values; benchmarks/README.md lists the keys."""
        machines = (one.get("machine") for one in self.scenarios.values())
        return {
            "date": self.started.isoformat(timespec="seconds"),
            "machine": next((machine for machine in machines if machine), {}),
            "settings": dict(self.settings),
            "incomplete": self.incomplete,
            "seconds": self.seconds,
            "scenarios": self.scenarios,
        }


def jobs_of(
    commands: Mapping[str, Collection[str]], *, quick: bool, rounds: int | None = None
) -> list[Job]:
    """Return what to run of *commands*, each with the flags that it takes, in order.

    With `quick` only what QUICK names; otherwise all, with every subject.
    """
    known = [name for name, flags in commands.items() if {"--quick", "--json"}.issubset(flags)]
    ordered = [name for name in ORDER if name in known]
    ordered += [name for name in known if name not in ORDER]
    return [
        _job(name, commands[name], quick, rounds) for name in ordered if not quick or name in QUICK
    ]


def _job(name: str, flags: Collection[str], quick: bool, rounds: int | None) -> Job:
    if quick:
        chosen, seconds = QUICK[name]
        arguments = ["--quick", *chosen]
    else:
        arguments = ["--subjects", "all"] if name in WITH_MORE_SUBJECTS else []
        seconds = SECONDS.get(name, OTHER_SECONDS)
    if rounds is not None and "--rounds" in flags:
        arguments += ["--rounds", str(rounds)]
    return Job(name, tuple(arguments), seconds)


class Store:
    """The results file, written anew after each scenario."""

    def __init__(self, path: Path | None, folder: Path, day: str) -> None:
        """With no `path`, the first free name of a day in `folder` is taken at the first write."""
        self.path = path
        self._folder = folder
        self._day = day

    def write(self, document: Json) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written.
        """
        if self.path is None:
            self._folder.mkdir(exist_ok=True)
            self.path = self._folder / free_name(
                self._day, [p.name for p in self._folder.iterdir()]
            )
        write_json_file(document, self.path)


def run_everything(run: Everything, command: Command, store: Store | None, told: Console) -> int:
    """Run all jobs, keep what they find, and say at the end what is missing; return the exit code.

    Ctrl-C and SIGTERM are the running scenario's to handle: it ends its processes and returns.
    """
    for index, job in enumerate(run.jobs):
        after = sum(later.seconds for later in run.jobs[index + 1 :])
        overall = Overall(index + 1, len(run.jobs), job.seconds, after)
        left = format_left(job.seconds + after)
        told.rule(f"{index + 1} of {len(run.jobs)}: {job.name}, {left} left", style="dim")
        with within(overall):
            code, found = _run_job(job, command, told)
        run.codes[job.name], run.seconds[job.name] = code, round(overall.passed(), 1)
        run.scenarios[job.name] = found
        if store is not None:
            store.write(run.to_json())
        if code >= STOPPED:
            break
    show_end(run, Console(width=None if sys.stdout.isatty() else 150))
    if store is not None and store.path is not None:
        told.print(f"written: {store.path}", highlight=False, soft_wrap=True)
    return run.exit_code


def _run_job(job: Job, command: Command, told: Console) -> tuple[int, Json]:
    """Run one scenario; whatever becomes of it, return an exit code and what it wrote."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        file = Path(folder) / "figures.json"
        reason = "it wrote no figures; what it printed says why"
        try:
            code = command([job.name, *job.arguments, "--json", str(file)])
        except KeyboardInterrupt:
            code = STOPPED + 2
        except SystemExit:
            code, reason = 2, "it does not take the arguments of a run of everything"
        except Exception as error:
            # The outermost net: a fault in one scenario must not lose hours of the others.
            told.print(escape(traceback.format_exc()), highlight=False)
            code, reason = 1, f"it failed by a fault of its own: {error!r}"
        if file.exists():
            return code, json.loads(file.read_text(encoding="utf-8"))
    if code >= STOPPED:
        return code, {"scenario": job.name, "results": {}, "incomplete": True}
    return code or 1, {"scenario": job.name, "results": {}, "failures": [reason]}


def missing_of(scenarios: Mapping[str, Json], incomplete: Collection[str]) -> list[Missing]:
    """Return what was not measured, each once with all scenarios that miss it."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, one in scenarios.items():
        rows: list[tuple[str, Any]] = list(one.get("skipped", {}).items())
        rows += [("a note", text) for text in one.get("notes", ())]
        rows += [("a measurement", text) for text in one.get("failures", ())]
        for what, reason in rows:
            found.setdefault((what, str(reason)), []).append(name)
    for name in incomplete:
        words = "stopped before its end" if name in scenarios else "not run: stopped before"
        found.setdefault(("the rest" if name in scenarios else "all of it", words), []).append(name)
    return [Missing(what, reason, tuple(names)) for (what, reason), names in found.items()]


def verdicts_in(scenarios: Mapping[str, Json]) -> list[bool | None]:
    """Return whether each target was met, those that stand beside a figure too; None: untold."""
    found: list[bool | None] = []
    for one in scenarios.values():
        found += [row.get("met") for row in one.get("targets", ())]
        rows = one.get("results", {}).values()
        found += [row.get("met") for row in rows if row.get("target_bytes") is not None]
    return found


def show_end(run: Everything, console: Console) -> None:
    """Print what is missing and what became of the targets."""
    missing = missing_of(run.scenarios, run.incomplete)
    if missing:
        table = Table(title="not measured, and how to get it", title_justify="left")
        table.add_column("scenario")
        table.add_column("what")
        table.add_column("why", overflow="fold")
        for row in missing:
            table.add_row(", ".join(row.scenarios), escape(row.what), escape(row.reason))
        console.print(table)
    verdicts = verdicts_in(run.scenarios)
    met, missed, untold = (verdicts.count(value) for value in (True, False, None))
    console.print(
        f"targets: {met} met, {missed} missed, {untold} not measured", highlight=False, style="dim"
    )
