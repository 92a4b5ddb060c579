"""One run of `paths`: for each profile a network, everybody at its ends, and the rounds.

How it works
------------
1. Two namespaces and the relay between them make the path.  The targets start, then each subject,
   and both of its doors have to lead to the targets.  One that cannot be started is left out, and
   the report says why.
2. Rounds: load by load, all subjects, rotated.  Only one subject carries a load at a time.  A bulk
   stream runs some seconds before it counts, and is waited for until all has arrived, so that the
   next one finds the queue empty.
3. The relay tells what it dropped, and how often it had no processor in time.  Then everything is
   ended, and the namespaces are removed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio
from rich.progress import Progress

from benchmarks import cases, load
from benchmarks.load import Sample
from benchmarks.machine import describe_machine
from benchmarks.paths.cases import (
    PROFILES,
    ROWS,
    Load,
    Profile,
    Settings,
    loads_in_order,
    percentile,
    received_between,
    subject_order,
)
from benchmarks.paths.network import check_machine, open_network
from benchmarks.paths.report import PathsReport
from benchmarks.paths.sides import STARTERS, Doors, Stage, start_targets
from benchmarks.peers import find_program
from benchmarks.processes import BenchmarkError, open_fleet, run_tool
from benchmarks.stats import Summary, summarise

__all__ = ["PathsPlan", "run_paths"]

KERNEL_SETTINGS: Final = ("tcp_congestion_control", "tcp_rmem", "tcp_wmem")
"""What decides how TCP fills a path; read inside, because a namespace has its own."""

WEB_TOOLS: Final = ("wrk", "nginx")

TAIL_SECONDS: Final = 0.2
"""How long a bulk stream runs on after what counts, so that the target's reports reach the end."""


@dataclass(frozen=True, slots=True)
class PathsPlan:
    """What one run is asked to do."""

    profiles: Collection[str]
    rows: Collection[str]
    subjects: Sequence[str]
    settings: Settings
    is_quick: bool = False


async def run_paths(
    plan: PathsPlan, folder: Path, progress: Progress, keep: Callable[[PathsReport], None]
) -> None:
    """Run the plan with files in *folder*, and give what was found to *keep*.

    Raises:
        BenchmarkError: this machine has no namespaces for us; the text says what is missing.

    Cancellation: breaks. Processes are ended and namespaces removed first, then *keep* is given
    what there is, marked incomplete; files are left in the folder.
    """
    check_machine()
    machine = await describe_machine()
    run = _Run(plan, folder, progress)
    is_incomplete = True
    try:
        for profile in PROFILES:
            if profile.name in plan.profiles:
                await run.measure(profile)
        is_incomplete = False
    finally:
        keep(_report(plan, machine, run, is_incomplete=is_incomplete))


def _report(
    plan: PathsPlan, machine: Mapping[str, object], run: _Run, *, is_incomplete: bool
) -> PathsReport:
    return PathsReport(
        machine={**machine, **run.kernel},
        settings={"quick": plan.is_quick, **dataclasses.asdict(plan.settings)},
        profiles=[profile for profile in PROFILES if profile.name in plan.profiles],
        rows=[row for row in ROWS if row.name in plan.rows],
        results=run.results,
        relays=run.relays,
        skipped=run.skipped,
        failures=run.failures,
        is_incomplete=is_incomplete,
    )


class _Run:
    """One pass through a plan: what was found so far."""

    def __init__(self, plan: PathsPlan, folder: Path, progress: Progress) -> None:
        self.results: dict[str, dict[str, dict[str, Summary]]] = {}
        self.relays: dict[str, list[dict[str, int]]] = {}
        self.kernel: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.failures: list[str] = []
        self._plan = plan
        self._folder = folder
        self._loads = self._measurable(loads_in_order(list(plan.rows)))
        self._progress = progress
        total = len(plan.profiles) * plan.settings.rounds * len(self._loads) * len(plan.subjects)
        self._task = progress.add_task("paths", total=total)

    def _measurable(self, loads: Sequence[Load]) -> list[Load]:
        """Return the loads whose tools are installed; note the others."""
        missing = [tool for tool in WEB_TOOLS if find_program(tool) is None]
        if missing and Load.REQUESTS in loads:
            names = ", ".join(missing)
            self.skipped[Load.REQUESTS] = f"{names} not installed; see `make system-deps`"
            return [pressing for pressing in loads if pressing is not Load.REQUESTS]
        return list(loads)

    async def measure(self, profile: Profile) -> None:
        """Measure everything on one path; what goes wrong is noted."""
        folder = self._folder / profile.name
        folder.mkdir()
        try:
            async with open_network() as network, open_fleet(folder) as fleet:
                self._progress.update(self._task, description=f"starting {profile.name}")
                await network.start_relay(fleet, profile)
                stage = Stage(network, fleet, has_web=Load.REQUESTS in self._loads)
                await self._read_kernel(stage)
                await start_targets(stage)
                running = await self._start_subjects(profile, stage)
                if running:
                    await self._rounds(profile, stage, running)
                self.relays[profile.name] = json.loads(await network.order("counts"))
        except* BenchmarkError as group:
            self.failures += [f"{profile.name}: {text}" for text in _texts(group)]

    async def _read_kernel(self, stage: Stage) -> None:
        paths = [f"/proc/sys/net/ipv4/{name}" for name in KERNEL_SETTINGS]
        found = await run_tool(stage.network.entry.inside(["cat", *paths]), timeout_seconds=5)
        values = (" ".join(line.split()) for line in found.splitlines())
        self.kernel = dict(zip(KERNEL_SETTINGS, values, strict=True))

    async def _start_subjects(self, profile: Profile, stage: Stage) -> dict[str, Doors]:
        running: dict[str, Doors] = {}
        for subject in self._plan.subjects:
            what = f"{profile.name}: starting {subject}"
            self._progress.update(self._task, description=what)
            try:
                doors = await STARTERS[subject](stage)
                await stage.check(doors)
            except* BenchmarkError as group:
                self.skipped[f"{profile.name} {subject}"] = "; ".join(_texts(group))
            else:
                running[subject] = doors
        return running

    async def _rounds(self, profile: Profile, stage: Stage, running: Mapping[str, Doors]) -> None:
        samples: dict[tuple[str, str], list[Sample]] = {}
        try:
            await self._take_samples(profile, stage, running, samples)
        finally:
            self._summarise(profile, samples)

    async def _take_samples(
        self,
        profile: Profile,
        stage: Stage,
        running: Mapping[str, Doors],
        samples: dict[tuple[str, str], list[Sample]],
    ) -> None:
        rounds = self._plan.settings.rounds
        for index in range(rounds):
            for pressing in self._loads:
                for subject in subject_order(list(running), index):
                    what = f"{profile.name}: round {index + 1}/{rounds}, {pressing} {subject}"
                    self._progress.update(self._task, description=what)
                    try:
                        found = await self._press(pressing, profile, stage, running[subject])
                    except* BenchmarkError as group:
                        self.failures += [f"{what}: {text}" for text in _texts(group)]
                    else:
                        for row, sample in found.items():
                            samples.setdefault((row, subject), []).append(sample)
                    self._progress.advance(self._task)

    async def _press(
        self, pressing: Load, profile: Profile, stage: Stage, doors: Doors
    ) -> dict[str, Sample]:
        """Put one load on one subject; return the sample of each of its rows."""
        seconds = self._plan.settings.seconds
        for child in stage.fleet.children:
            child.check_alive()
        match pressing:
            case Load.REQUESTS:
                within = stage.network.entry.inside([])
                folder = stage.fleet.folder
                wrk = cases.LOADS[pressing]
                return {
                    pressing: await load.measure(wrk, doors.web, seconds, folder, within=within)
                }
            case Load.ECHO:
                return {pressing: echo_sample(await stage.ask("echo", doors.stream, seconds, 0))}
            case Load.BULK:
                return await self._bulk(profile, stage, doors)

    async def _bulk(self, profile: Profile, stage: Stage, doors: Doors) -> dict[str, Sample]:
        settings = self._plan.settings
        seconds, lead = settings.bulk_seconds(profile), settings.lead_of(profile)
        found: dict[str, Any] = {}

        async def ask(what: str, *durations: float) -> None:
            found[what] = await stage.ask(what, doors.stream, *durations)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "bulk", lead + seconds + TAIL_SECONDS)
            nursery.start_soon(ask, "echo", seconds, lead)
        return {
            "bulk": bulk_sample(profile, found["bulk"], lead, seconds),
            "echo_beside": echo_sample(found["echo"]),
        }

    def _summarise(
        self, profile: Profile, samples: Mapping[tuple[str, str], Sequence[Sample]]
    ) -> None:
        units = {row.name: row.unit for row in ROWS}
        for (row, subject), found in samples.items():
            if row in self._plan.rows:
                figures = [sample.value for sample in found]
                extras = [sample.extras for sample in found]
                summary = summarise(units[row], figures, extras)
                self.results.setdefault(profile.name, {}).setdefault(row, {})[subject] = summary


def echo_sample(milliseconds: Sequence[float]) -> Sample:
    """Return the sample of one measurement of echoes: the median, and what 1 % exceed."""
    extras = {"p99_ms": percentile(milliseconds, 99), "count": float(len(milliseconds))}
    return Sample(percentile(milliseconds, 50), extras)


def bulk_sample(profile: Profile, found: Mapping[str, Any], lead: float, seconds: float) -> Sample:
    """Return the sample of one bulk stream: Gbit/s, and the share of the link that this is.

    Raises:
        BenchmarkError: the target told too little.
    """
    rate = received_between(found["reports"], found["start"] + lead, seconds)
    if rate is None:
        raise BenchmarkError("the bulk stream stalled: the target counted nothing at the end")
    return Sample(rate * 8 / 1e9, {"share": rate / profile.rate})


def _texts(error: BaseException) -> list[str]:
    """Return the texts of an error, or of all errors of a group."""
    if isinstance(error, BaseExceptionGroup):
        return [text for inner in error.exceptions for text in _texts(inner)]
    return [str(error)]
