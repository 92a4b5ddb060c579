"""One run of `idle`: make the ends, look at the processes, wait, look again.

How it works
------------
1. Host and maker start; the maker opens a twentieth, and both collect garbage: the first look.
2. The maker opens the rest, and both collect garbage: what the resident memory has grown by,
   divided by the rest, is what one costs.
3. Both are left alone for some seconds; what the kernel counts meanwhile are the wake-ups and the
   processor time of idling.  Links ping each other, so that this is never nothing.

The programs are the shipped ones: sidecar, broker and devbox, joined, after one request that was
carried from end to end.  Each round has processes of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from rich.progress import Progress

from benchmarks import peers, programs
from benchmarks.idle.cases import (
    CASES,
    PROGRAM_CASE,
    Case,
    Row,
    Sample,
    Settings,
    Summary,
    affordable,
    rows_of,
    warm_count,
)
from benchmarks.idle.gauge import Reading, allow_descriptors, read_process
from benchmarks.idle.report import IdleReport
from benchmarks.load import Address
from benchmarks.machine import describe_machine
from benchmarks.processes import BenchmarkError, Child, Fleet, open_fleet, pick_ports
from tunnelkit.auth import generate_key, save_private_key

__all__ = ["IdlePlan", "run_idle"]

GROW_SECONDS: Final = 300.0
"""How long the opening of everything may take: 50,000 streams take seconds, links a minute."""

LAST_WORDS_SECONDS: Final = 2.0
"""How long a process that fails may take to say why, and to end."""

ARRIVE_SECONDS: Final = 15.0
"""How long the host may take to have what the maker has."""

_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class IdlePlan:
    """What one run is asked to do."""

    names: Collection[str]
    settings: Settings
    is_traced: bool = False


async def run_idle(
    plan: IdlePlan, folder: Path, progress: Progress, keep: Callable[[IdleReport], None]
) -> None:
    """Run the plan with files in *folder*, and give what was found to *keep*.

    Cancellation: breaks. Processes are ended first, then *keep* is given what there is, marked
    incomplete; files are left in the folder.
    """
    machine = await describe_machine()
    run = _Run(plan, folder, progress)
    is_incomplete = True
    try:
        await run.measure_all()
        is_incomplete = False
    finally:
        keep(_report(plan, machine, run, is_incomplete=is_incomplete))


def _report(
    plan: IdlePlan, machine: Mapping[str, object], run: _Run, *, is_incomplete: bool
) -> IdleReport:
    settings: dict[str, object] = {
        "quick": plan.settings.divisor > 1,
        "rounds": plan.settings.rounds,
    }
    settings |= {"idle_seconds": plan.settings.idle_seconds, "traced": plan.is_traced}
    rows = [row for row in rows_of(list(plan.names)) if row.name in run.samples]
    summaries = [Summary(row, run.samples[row.name], run.places.get(row.name, {})) for row in rows]
    return IdleReport(
        machine=machine,
        settings=settings,
        summaries=summaries,
        shortages=run.notes,
        failures=run.failures,
        is_incomplete=is_incomplete,
    )


@dataclass(slots=True)
class _Held:
    """One process under observation."""

    row: Row | None
    child: Child
    control: Path
    first: Reading | None = None

    async def _why_silent(self) -> BenchmarkError:
        """Return what the process said before it ended over an order."""
        with trio.move_on_after(LAST_WORDS_SECONDS):
            await self.child.process.wait()
        return BenchmarkError(f"{self.child.name}: {self.child.last_words()}")

    async def order(self, **order: object) -> dict[str, Any]:
        """Give an order and return the answer.

        Raises:
            BenchmarkError: the process ended over it, or does not answer.
        """
        try:
            with trio.fail_after(GROW_SECONDS):
                async with await trio.open_unix_socket(str(self.control)) as stream:
                    await stream.send_all(json.dumps(order).encode() + b"\n")
                    answer = b""
                    while not answer.endswith(b"\n"):
                        chunk = await stream.receive_some()
                        if not chunk:
                            raise await self._why_silent()
                        answer += chunk
        except (trio.TooSlowError, OSError, trio.BrokenResourceError) as error:
            words = self.child.last_words()
            raise BenchmarkError(f"{self.child.name} does not obey: {error!r}; {words}") from error
        found: dict[str, Any] = json.loads(answer)
        return found

    def read(self) -> Reading:
        """Look at it."""
        self.child.check_alive()
        return read_process(self.child.process.pid)


class _Run:
    """One pass through a plan: what was found so far."""

    def __init__(self, plan: IdlePlan, folder: Path, progress: Progress) -> None:
        self.samples: dict[str, list[Sample]] = {}
        self.places: dict[str, dict[str, float]] = {}
        self.notes: list[str] = []
        self.failures: list[str] = []
        self._plan = plan
        self._settings = plan.settings
        self._folder = folder
        self._progress = progress
        self._descriptors = allow_descriptors()
        self._key = folder / "idle.key"
        save_private_key(self._key, generate_key())

    async def measure_all(self) -> None:
        total = self._settings.rounds * len(self._plan.names)
        task = self._progress.add_task("idle", total=total)
        for number in range(1, self._settings.rounds + 1):
            for case in (*CASES, PROGRAM_CASE):
                name = case if isinstance(case, str) else case.name
                if name not in self._plan.names:
                    continue
                what = f"round {number}/{self._settings.rounds}, {name}"
                self._progress.update(task, description=what)
                measure = self._programs if isinstance(case, str) else partial(self._case, case)
                try:
                    await measure()
                except* BenchmarkError as group:
                    texts = ", ".join(str(error) for error in _leaves(group))
                    self.failures.append(f"{what}: {texts}")
                self._progress.advance(task)

    # --- ends -------------------------------------------------------------------------------

    async def _case(self, case: Case) -> None:
        wanted = self._settings.count(case)
        count = affordable(case.thing, wanted, self._descriptors)
        if count < wanted:
            note = f"{case.name}: {count:,} of {wanted:,}, for want of descriptors (ulimit -n)"
            self.notes += [] if note in self.notes else [note]
        async with self._pair(case) as (host, maker):
            await self._grow(host, maker, warm_count(count), warm_count(count))
            for held in (host, maker):
                await held.order(rest=True)
                await held.order(trace=True)
                held.first = held.read()
            await self._grow(host, maker, count, warm_count(count) + count)
            found = [held for held in (host, maker) if held.row is not None]
            await self._observe(found, count)
            for held in found if self._plan.is_traced else []:
                assert held.row is not None
                places: dict[str, float] = (await held.order(trace=True))["places"]
                each = {place: size / count for place, size in places.items()}
                self.places[held.row.name] = each

    @asynccontextmanager
    async def _pair(self, case: Case) -> AsyncGenerator[tuple[_Held, _Held]]:
        async with open_fleet(self._folder) as fleet:
            flags = [case.thing.value, "--key", str(self._key)]
            host_flags = [*flags, "--broker"] if case.is_broker else flags
            host = await self._start(fleet, case.host, f"{case.name}-host", host_flags)
            address = json.loads(host.child.ready_line)["address"]
            flags += ["--dial", address]
            maker = await self._start(fleet, case.maker, f"{case.name}-maker", flags)
            yield host, maker

    async def _start(self, fleet: Fleet, row: Row | None, name: str, flags: list[str]) -> _Held:
        control = self._folder / f"{name}.sock"
        control.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.idle.holder", *flags]
        command += ["--control", str(control)]
        environment = {"PYTHONPATH": str(_ROOT)}
        if self._plan.is_traced:
            environment["PYTHONTRACEMALLOC"] = "1"
        child = await fleet.start(
            name, command, is_ready=lambda line: '"ready"' in line, environment=environment
        )
        return _Held(row, child, control)

    async def _grow(self, host: _Held, maker: _Held, more: int, total: int) -> None:
        """Have the maker open *more*, and wait until both have *total*."""
        await maker.order(grow=more)
        with trio.move_on_after(ARRIVE_SECONDS):
            while (await host.order(count=True))["count"] < total:  # noqa: ASYNC110 # another process
                await trio.sleep(0.1)
        for held in (host, maker):
            count = (await held.order(rest=True))["count"]
            if count != total:
                raise BenchmarkError(f"{held.child.name} holds {count:,} and not {total:,}")

    async def _observe(self, found: list[_Held], count: int) -> None:
        await trio.sleep(self._settings.settle_seconds)
        for held in found:
            await held.order(rest=True)
        before = [held.read() for held in found]
        start = trio.current_time()
        await trio.sleep(self._settings.idle_seconds)
        after = [held.read() for held in found]
        seconds = trio.current_time() - start
        for held, first, last in zip(found, before, after, strict=True):
            assert held.row is not None
            assert held.first is not None
            each = (first.rss_bytes - held.first.rss_bytes) / count
            self._note(held.row, _sample(count, each, first, last, seconds))

    # --- programs ---------------------------------------------------------------------------

    async def _programs(self) -> None:
        missing = programs.missing_programs()
        if missing:
            raise BenchmarkError(f"this clone does not hold {', '.join(missing)}")
        async with open_fleet(self._folder) as fleet, trio.open_nursery() as nursery:
            target = await _start_target(nursery)
            decoy = Address(peers.HOST, pick_ports(1)[0])  # a closed port
            folder = self._folder / f"programs-{len(self.samples.get('sidecar', ()))}"
            folder.mkdir()
            credentials = await programs.make_credentials(folder)
            route = peers.Route(target, None)
            await programs.start_route(
                fleet, "broker", credentials, route, peers.Route(decoy, None)
            )
            await trio.sleep(self._settings.settle_seconds)
            before = {child.name: read_process(child.process.pid) for child in fleet.children}
            start = trio.current_time()
            await trio.sleep(self._settings.idle_seconds)
            seconds = trio.current_time() - start
            for row in rows_of([PROGRAM_CASE]):
                child = next(c for c in fleet.children if c.name.startswith(row.name))
                first, last = before[child.name], read_process(child.process.pid)
                self._note(row, _sample(1, last.rss_bytes, first, last, seconds))
            nursery.cancel_scope.cancel()

    def _note(self, row: Row, sample: Sample) -> None:
        self.samples.setdefault(row.name, []).append(sample)


def _sample(count: int, each: float, first: Reading, last: Reading, seconds: float) -> Sample:
    return Sample(
        count,
        each,
        wake_ups_per_s=(last.wake_ups - first.wake_ups) / seconds,
        cpu_s_per_minute=(last.cpu_seconds - first.cpu_seconds) / seconds * 60,
    )


async def _start_target(nursery: trio.Nursery) -> Address:
    """Answer HTTP requests as the target of the other benchmarks does."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(peers.BODY)}\r\nConnection: close\r\n\r\n"

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            if await stream.receive_some():
                await stream.send_all(head.encode() + peers.BODY)

    listeners = await trio.open_tcp_listeners(0, host=peers.HOST)
    await nursery.start(trio.serve_listeners, answer, listeners)
    return Address(peers.HOST, listeners[0].socket.getsockname()[1])


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
