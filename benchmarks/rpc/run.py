"""One run of `rpc`: a server of each subject, and a driver for each measurement.

How it works
------------
Servers are started once and kept.  Each measurement is a driver of its own, which connects anew,
drives one case, and tells on its standard output what came of it.  Rounds go through the cases, and
through the subjects in an order that turns.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rich.progress import Progress

from benchmarks.cases import Case, Measurement, needed_measurements, round_order
from benchmarks.machine import describe_machine
from benchmarks.processes import BenchmarkError, Child, Fleet, open_fleet, run_tool
from benchmarks.report import Report
from benchmarks.rpc.cases import RPC, UNITS, Settings
from benchmarks.stats import Summary, summarise

__all__ = ["RpcPlan", "run_rpc", "sample_of"]

MODULES: Final = {"grpcio": "grpc", "grpc_aio": "grpc", "aiorpcx": "aiorpcx"}
"""What a subject needs beside ourselves."""

DRIVER_SECONDS: Final = 60.0
"""How long a driver may take beyond the measurement, seconds."""


@dataclass(frozen=True, slots=True)
class RpcPlan:
    """What one run is asked to do."""

    cases: Sequence[Case]
    subjects: Sequence[str]
    settings: Settings
    is_quick: bool = False


@dataclass(slots=True)
class _Log:
    samples: dict[Measurement, list[dict[str, float]]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def sample_of(case: str, told: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of one measurement: `value`, and what stands beside it."""
    if case != "beside_payload":
        return {"value": told["count"] / told["seconds"]}
    bits = told["payload_bytes"] * 8 / told["seconds"] / 1e9
    return {"value": told["p99_us"], "p50_us": told["p50_us"], "bulk_gbit_s": bits}


async def run_rpc(
    plan: RpcPlan, folder: Path, progress: Progress, keep: Callable[[Report], None]
) -> None:
    """Run the plan with files in *folder*, and give what was found to *keep*.

    Cancellation: breaks. Processes are ended first, then *keep* is given what there is, marked
    incomplete.
    """
    machine = await describe_machine()
    log = _Log()
    is_incomplete = True
    try:
        async with open_fleet(folder) as fleet:
            await _measure_all(plan, fleet, progress, log)
        is_incomplete = False
    finally:
        keep(_report(plan, machine, log, is_incomplete=is_incomplete))


async def _measure_all(plan: RpcPlan, fleet: Fleet, progress: Progress, log: _Log) -> None:
    servers: dict[str, Child] = {}
    for subject in plan.subjects:
        module = MODULES.get(subject)
        if module is not None and find_spec(module) is None:
            log.skipped[subject] = f"{module} is not installed: pip install '.[peers]'"
            continue
        servers[subject] = await fleet.start(
            subject, _command(subject, "serve"), is_ready=lambda line: line.startswith("ready")
        )
    needed = needed_measurements(plan.cases, list(servers))
    rounds = plan.settings.rounds
    task = progress.add_task("rpc", total=rounds * sum(map(len, needed.values())))
    for number in range(rounds):
        for measurement in round_order(needed, number):
            what = f"round {number + 1}/{rounds}, {measurement.load} {measurement.route}"
            progress.update(task, description=what)
            try:
                sample = await _measure(plan, measurement, servers[measurement.route])
                log.samples.setdefault(measurement, []).append(sample)
            except BenchmarkError as error:
                log.failures.append(f"{what}: {error}")
            progress.advance(task)


async def _measure(plan: RpcPlan, measurement: Measurement, server: Child) -> dict[str, float]:
    server.check_alive()
    port, seconds = server.ready_line.split()[1], plan.settings.seconds
    command = _command(measurement.route, "drive", port, measurement.load, str(seconds))
    output = await run_tool(command, timeout_seconds=seconds + DRIVER_SECONDS)
    return sample_of(measurement.load, json.loads(output))


def _command(subject: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.rpc.ends.{subject}", *arguments]


def _report(
    plan: RpcPlan, machine: Mapping[str, object], log: _Log, *, is_incomplete: bool
) -> Report:
    results: dict[str, dict[str, Summary]] = {}
    for case in plan.cases:
        for subject, route in case.routes.items():
            samples = log.samples.get(Measurement(case.load, route))
            if samples:
                extras = [
                    {key: value for key, value in sample.items() if key != "value"}
                    for sample in samples
                ]
                values = [sample["value"] for sample in samples]
                found = summarise(UNITS[case.name], values, extras)
                results.setdefault(case.name, {})[subject] = found
    return Report(
        machine=machine,
        settings={"quick": plan.is_quick, **dataclasses.asdict(plan.settings)},
        skipped=log.skipped,
        failures=log.failures,
        is_incomplete=is_incomplete,
        scenario=RPC,
        cases=plan.cases,
        results=results,
    )
