"""One run of `profile`: our two programs under each load, watched by py-spy, then by strace.

Both are watched from outside, as they are shipped.  Processor time is taken from the kernel while
py-spy looks, which slows them by a percent or two; strace stops a process at every system call, so
that it only counts, under a load that is far slower.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio
from rich.progress import Progress

from benchmarks import load, programs
from benchmarks.cases import LINK, LOADS, Kind, Load
from benchmarks.load import Address
from benchmarks.machine import describe_machine
from benchmarks.peers import Route, find_program, require_program, start_targets
from benchmarks.processes import BenchmarkError, Child, Fleet, open_fleet, run_tool
from benchmarks.profiles.folded import Stacks, parse_folded, parse_strace, pruned
from benchmarks.profiles.report import Profiled, ProfileReport

__all__ = ["PROFILED", "ProfilePlan", "run_profile"]

PROFILED: Final = ("rps_32", "new_conns", "bulk")
"""The loads under which programs are watched."""

RATE: Final = 400
"""Stacks a second."""

LEAST_SHARE: Final = 0.004
"""What was met less often is not told apart."""

SETTLE_SECONDS: Final = 0.5

UNITS: Final = {Kind.REQUESTS: "request", Kind.CONNECTIONS: "connection", Kind.BULK: "MiB"}


@dataclass(frozen=True, slots=True)
class ProfilePlan:
    """What one run is asked to do."""

    loads: tuple[str, ...]
    seconds: int
    is_quick: bool = False


async def run_profile(
    plan: ProfilePlan, folder: Path, progress: Progress, keep: Callable[[ProfileReport], None]
) -> None:
    """Run the plan with files in *folder*, and give what was found to *keep*.

    Raises:
        BenchmarkError: a program is not installed or did not start.

    Cancellation: breaks. Processes are ended first, then *keep* is given what there is.
    """
    spy = _find_spy()
    strace = require_program("strace")
    machine = await describe_machine()
    results: dict[str, dict[str, Profiled]] = {}
    is_incomplete = True
    try:
        async with open_fleet(folder) as fleet:
            targets = await start_targets(fleet, [LINK], bulk=True)
            credentials = await programs.make_credentials(folder)
            before = len(fleet.children)
            route = await programs.start_route(
                fleet, LINK, credentials, targets.behind[LINK], targets.decoy
            )
            watch = _Watch(fleet, route, _named(fleet.children[before:]), plan.seconds)
            task = progress.add_task("profile", total=2 * len(plan.loads))
            for name in plan.loads:
                progress.update(task, description=f"{name}: stacks")
                stacks, times = await watch.stacks(spy, LOADS[name])
                progress.update(task, description=f"{name}: system calls", advance=1)
                calls = await watch.calls(strace, LOADS[name])
                progress.advance(task)
                results[name] = {
                    process: Profiled(UNITS[LOADS[name].kind], *times[process], calls[process], one)
                    for process, one in stacks.items()
                }
        is_incomplete = False
    finally:
        keep(
            ProfileReport(
                machine=machine,
                settings={"quick": plan.is_quick, "seconds": plan.seconds, "rounds": 1},
                results=results,
                is_incomplete=is_incomplete,
            )
        )


def _find_spy() -> str:
    """Return the path of py-spy, which is installed beside this Python.

    Raises:
        BenchmarkError: it is not installed.
    """
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.is_file() else find_program("py-spy")
    if found is None:
        raise BenchmarkError("py-spy is not installed; pip install -e '.[bench]' installs it")
    return found


def _named(children: list[Child]) -> dict[str, Child]:
    return {child.name.partition("-")[0]: child for child in reversed(children)}


@dataclass(frozen=True, slots=True)
class _Watch:
    """The programs under observation, and the load on them."""

    fleet: Fleet
    route: Route
    children: Mapping[str, Child]
    seconds: int

    async def stacks(
        self, spy: str, pressing: Load
    ) -> tuple[dict[str, Stacks], dict[str, tuple[float, float]]]:
        """Return the stacks of each process, and its user and system time for a unit in µs."""
        files = {name: self.fleet.folder / f"{name}.folded" for name in self.children}
        before = {name: _times(child) for name, child in self.children.items()}
        async with trio.open_nursery() as nursery:
            for name, child in self.children.items():
                command = [spy, "record", "--pid", str(child.process.pid), "--rate", str(RATE)]
                command += ["--duration", str(self.seconds), "--format", "raw", "--function"]
                command += ["--output", str(files[name])]
                nursery.start_soon(partial(run_tool, command, timeout_seconds=self.seconds + 30))
            units = await self._press(pressing)
        times = {
            name: _since(before[name], _times(child), units)
            for name, child in self.children.items()
        }
        stacks: dict[str, Stacks] = {
            name: pruned(parse_folded(path.read_text()), LEAST_SHARE)
            for name, path in files.items()
        }
        return stacks, times

    async def calls(self, strace: str, pressing: Load) -> dict[str, dict[str, float]]:
        """Return how many system calls of each kind a process makes for a unit."""
        tables: dict[str, Path] = {}
        tracers: list[Child] = []
        for name, child in self.children.items():
            tables[name] = self.fleet.folder / f"{name}.strace"
            command = [strace, "-c", "-f", "-p", str(child.process.pid), "-o", str(tables[name])]
            tracers.append(await self.fleet.start(f"strace-{name}", command))
        await trio.sleep(SETTLE_SECONDS)
        units = await self._press(pressing)
        for tracer in tracers:
            tracer.check_alive()
            tracer.process.send_signal(signal.SIGINT)
            await tracer.process.wait()
            self.fleet.children.remove(tracer)
        return {
            name: {call: count / units for call, count in parse_strace(path.read_text()).items()}
            for name, path in tables.items()
        }

    async def _press(self, pressing: Load) -> float:
        """Press on the route; return how many units came through."""
        door: Address | None = self.route.web
        if pressing.kind is Kind.BULK:
            door = self.route.bulk
        assert door is not None, "the targets were started with a bulk door"
        sample = await load.measure(pressing, door, self.seconds, self.fleet.folder)
        total = sample.value * self.seconds
        return total * 1e9 / 8 / (1 << 20) if pressing.kind is Kind.BULK else total


def _times(child: Child) -> tuple[float, float]:
    """Return the user and the system time that a process has used, seconds."""
    text = Path(f"/proc/{child.process.pid}/stat").read_text()
    fields = text.rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def _since(
    before: tuple[float, float], after: tuple[float, float], units: float
) -> tuple[float, float]:
    """Return what was used in between for one of *units*, µs."""
    return (after[0] - before[0]) * 1e6 / units, (after[1] - before[1]) * 1e6 / units
