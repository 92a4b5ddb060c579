"""One run of a scenario: client, entry, link, exit, target, measured in rounds.

How it works
------------
1. Targets and every route that a chosen case needs are started once, checked (the body of one
   request must be the target's own) and kept running, so that a measurement never includes a
   start-up.  A subject that cannot be started is left out, and the report says why.
2. Each route is warmed up, then the rounds run in the order that `cases.round_order` gives.
   Before a measurement its processes must be alive and its route must still lead to the target.
3. Medians, ratios and verdicts are made of the samples that succeeded.  A failed measurement is
   reported by name, and makes the exit code 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import trio
from rich.progress import Progress

from benchmarks import cases, load, peers, programs
from benchmarks.cases import CARRIERS, DIRECT, Case, Kind, Load, Measurement, Settings, Way
from benchmarks.http_load import build_http_load
from benchmarks.idle.gauge import allow_descriptors
from benchmarks.load import Address, Sample
from benchmarks.machine import describe_machine
from benchmarks.mixed_load import build_mixed_load
from benchmarks.peers import Route, Targets
from benchmarks.peers.starters import STARTERS
from benchmarks.processes import BenchmarkError, Child, Fleet, cpu_seconds_of
from benchmarks.report import Report
from benchmarks.scenarios import Scenario
from benchmarks.stats import Summary, summarise, with_added

__all__ = ["Log", "Plan", "report_of", "run_plan"]

SETTLE_SECONDS = 0.1
"""Pause after a measurement, in which closed connections are cleared away."""

GENERATORS = {
    Kind.REQUESTS: "wrk",
    Kind.CONNECTIONS: "wrk",
    Kind.BULK: "iperf3",
    Kind.ECHO: "go",  # which builds it
    Kind.BODY: "go",
    Kind.PACED: "go",
    Kind.CALLS: "grpcio",
}

DOORS = {
    Kind.REQUESTS: "web",
    Kind.CONNECTIONS: "web",
    Kind.BULK: "bulk",
    Kind.ECHO: "mixed",
    Kind.BODY: "body",
    Kind.PACED: "web",
    Kind.CALLS: "calls",
}

FILES_PER_CONNECTION = 2
"""A relay holds two sockets for each connection, and few files beside them."""

SPARE_FILES = 128


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run is asked to do."""

    scenario: Scenario
    cases: Sequence[Case]
    subjects: Collection[str]
    settings: Settings
    quick: bool


@dataclass(slots=True)
class Running:
    """A route under measurement, and the processes that it would be wrong to miss."""

    route: Route
    target: Route
    children: Sequence[Child]

    @property
    def brokers(self) -> list[Child]:
        """Those of the processes that are brokers."""
        return [child for child in self.children if child.name.startswith(programs.BROKER)]


@dataclass(slots=True)
class Log:
    """What was measured so far."""

    machine: dict[str, object] = field(default_factory=dict)
    samples: dict[Measurement, list[Sample]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


async def run_plan(plan: Plan, fleet: Fleet, progress: Progress, log: Log) -> None:
    """Run the plan with processes of `fleet`; what is found goes to `log` at once.

    Raises:
        BenchmarkError: nothing can be measured at all: a target did not start.

    Cancellation: keeps. Processes belong to the fleet, which ends them; the log holds all samples.
    """
    log.machine = await describe_machine()
    await _Run(plan, fleet, progress, log).measure_all()


class _Run:
    """One pass through a plan: what runs, and what was measured so far."""

    def __init__(self, plan: Plan, fleet: Fleet, progress: Progress, log: Log) -> None:
        self.log = log
        self._plan = plan
        self._fleet = fleet
        self._progress = progress
        self._task = progress.add_task("starting the targets", total=None)
        self._running: dict[str, Running] = {}
        self._credentials: programs.Credentials | None = None

    async def measure_all(self) -> None:
        needed = self._measurable()
        mixed = await self._build(needed, (Kind.ECHO,), build_mixed_load)
        bodies = await self._build(needed, (Kind.BODY, Kind.PACED), build_http_load)
        routes = sorted({measurement.route for group in needed.values() for measurement in group})
        if not routes:
            return
        kinds = {cases.LOADS[name].kind for name in needed}
        targets = await peers.start_targets(
            self._fleet,
            routes,
            bulk=Kind.BULK in kinds,
            mixed=mixed,
            bodies=bodies if Kind.BODY in kinds else None,
            calls=Kind.CALLS in kinds,
        )
        for route in routes:
            await self._start(route, targets)
        await self._warm_up(needed)
        await self._run_rounds(needed)

    def _measurable(self) -> dict[str, list[Measurement]]:
        """Plan the measurements; note the loads that this machine cannot make."""
        needed = cases.needed_measurements(self._plan.cases, self._plan.subjects)
        descriptors = allow_descriptors()
        for name in list(needed):
            pressing = cases.LOADS[name]
            tools = (GENERATORS[pressing.kind], "nginx")
            missing = [tool for tool in tools if not _is_there(tool)]
            files = FILES_PER_CONNECTION * pressing.connections + SPARE_FILES
            if missing:
                names = ", ".join(missing)
                way = "`make bench` or `make system-deps` installs it"
                self.log.skipped[name] = f"{names} not installed; {way}"
                del needed[name]
            elif files > descriptors:
                text = (
                    f"needs {files} descriptors, and {descriptors} are allowed: raise `ulimit -n`"
                )
                self.log.skipped[name] = text
                del needed[name]
        return needed

    async def _build(
        self,
        needed: dict[str, list[Measurement]],
        kinds: Collection[Kind],
        build: Callable[[Path], Awaitable[Path]],
    ) -> Path | None:
        """Build the program that makes loads of *kinds*, if there are any.

        If that fails, note why and go on without them.
        """
        names = [name for name in needed if cases.LOADS[name].kind in kinds]
        if not names:
            return None
        try:
            return await build(self._fleet.folder)
        except BenchmarkError as error:
            for name in names:
                self.log.skipped[name] = str(error)
                del needed[name]
            return None

    async def _start(self, name: str, targets: Targets) -> None:
        """Start one route; if that fails, note why and go on without it."""
        self._progress.update(self._task, description=f"starting {name}")
        before = len(self._fleet.children)
        try:
            route = await self._start_processes(name, targets)
        except* BenchmarkError as errors:
            self.log.skipped[_subject_of(name)] = "; ".join(_reasons(errors))
        else:
            children = self._fleet.children[before:]
            self._running[name] = Running(route, targets.behind[name], children)

    async def _start_processes(self, name: str, targets: Targets) -> Route:
        behind = targets.behind[name]
        if name == DIRECT:
            return behind
        if name in STARTERS:
            return await STARTERS[name](self._fleet, behind)
        missing = programs.missing_programs()
        if missing:
            raise BenchmarkError(f"this clone does not hold {', '.join(missing)}")
        if self._credentials is None:
            self._credentials = await programs.make_credentials(self._fleet.folder)
        if name in cases.SESSION_COUNTS:
            count = cases.SESSION_COUNTS[name]
            return await programs.start_crowd(self._fleet, count, self._credentials, behind)
        return await programs.start_route(
            self._fleet, name, self._credentials, behind, targets.decoy
        )

    async def _warm_up(self, needed: dict[str, list[Measurement]]) -> None:
        """Let interpreters, caches and congestion windows settle before anything counts."""
        called = {one.route for group in needed.values() for one in group if _is_call(one.load)}
        for name, running in self._running.items():
            self._progress.update(self._task, description=f"warming up {name}")
            door, target = running.route.web, running.target.web
            if peers.find_program("wrk") is not None and (door != target or name == DIRECT):
                await self._warm("rps_32", door)
            if name in called and running.route.calls is not None:
                await self._warm("calls_32", running.route.calls)

    async def _warm(self, name: str, door: Address) -> None:
        seconds = self._plan.settings.warm_up_seconds
        # A route that fails here is met again in the first round, which reports it.
        with suppress(BenchmarkError):
            await load.measure(cases.LOADS[name], door, seconds, self._fleet.folder)

    async def _run_rounds(self, needed: dict[str, list[Measurement]]) -> None:
        rounds = self._plan.settings.rounds
        orders = [cases.round_order(needed, index) for index in range(rounds)]
        self._progress.update(self._task, total=sum(len(order) for order in orders))
        for index, order in enumerate(orders, 1):
            for measurement in order:
                what = f"round {index}/{rounds}, {measurement.load} {measurement.route}"
                self._progress.update(self._task, description=what)
                await self._take_sample(measurement, what)
                self._progress.advance(self._task)

    async def _take_sample(self, measurement: Measurement, what: str) -> None:
        running = self._running.get(measurement.route)
        if running is None:
            return
        pressing = cases.LOADS[measurement.load]
        for attempts_left in reversed(range(_attempts(pressing))):
            try:
                sample = await self._measure(pressing, running)
            except BenchmarkError as error:
                if not attempts_left:
                    self.log.failures.append(f"{what}: {error}")
            else:
                self.log.samples.setdefault(measurement, []).append(sample)
                return

    async def _measure(self, pressing: Load, running: Running) -> Sample:
        for child in running.children:
            child.check_alive()
        await load.wait_body(running.route.web, peers.BODY, timeout_seconds=5)
        name = DOORS[pressing.kind]
        door, target = running.route.doors.get(name), running.target.doors.get(name)
        if door is None:
            raise BenchmarkError(f"this subject has no door for {pressing.kind}")
        seconds = self._plan.settings.seconds_of(pressing)
        before = cpu_seconds_of(running.children), cpu_seconds_of(running.brokers)
        folder = self._fleet.folder
        sample = await load.measure(pressing, door, seconds, folder, target=target)
        after = cpu_seconds_of(running.children), cpu_seconds_of(running.brokers)
        await trio.sleep(SETTLE_SECONDS)
        if pressing.is_beside:
            return sample  # a latency; and the load presses for longer than it measures
        for prefix, first, last in zip(("", "broker_"), before, after, strict=True):
            if last > first:
                sample = load.with_cpu(sample, pressing, seconds, last - first, prefix)
        return sample


def _is_there(tool: str) -> bool:
    if tool == "grpcio":
        return find_spec("grpc") is not None
    return peers.find_program(tool) is not None


def _is_call(name: str) -> bool:
    return cases.LOADS[name].kind is Kind.CALLS


def _attempts(load: Load) -> int:
    """Return how often a measurement may be begun.

    For both ways iperf3 tells its two connections apart by the order in which they arrive, and a
    relay that dials them at the same time may change that: then nothing flows, and not for want of
    speed.
    """
    return 3 if load.way is Way.BOTH else 1


def _subject_of(route: str) -> str:
    names = (DIRECT, *STARTERS, *CARRIERS, *cases.SESSION_COUNTS)
    return route if route in names else f"ours ({route})"


def _reasons(error: BaseException) -> list[str]:
    """Return the texts of an error, or of all errors of a group."""
    if isinstance(error, BaseExceptionGroup):
        return [reason for inner in error.exceptions for reason in _reasons(inner)]
    return [str(error)]


def report_of(plan: Plan, log: Log, *, is_incomplete: bool = False) -> Report:
    """Return the report of what was measured so far."""
    results: dict[str, dict[str, Summary]] = {}
    for case in plan.cases:
        for subject in cases.subjects_of(case, plan.subjects):
            samples = log.samples.get(Measurement(case.load, case.routes[subject]))
            if samples:
                figures = [sample.value for sample in samples]
                extras = [sample.extras for sample in samples]
                summary = summarise(cases.LOADS[case.load].unit, figures, extras)
                results.setdefault(case.name, {})[subject] = summary
        if cases.LOADS[case.load].kind is Kind.PACED and case.name in results:
            results[case.name] = with_added(results[case.name], DIRECT)
    settings = {"quick": plan.quick, **dataclasses.asdict(plan.settings)}
    settings["body_bytes"] = len(peers.BODY)
    return Report(
        scenario=plan.scenario,
        machine=log.machine,
        settings=settings,
        cases=plan.cases,
        results=results,
        skipped=log.skipped,
        failures=log.failures,
        is_incomplete=is_incomplete,
    )
