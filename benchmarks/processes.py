"""Child processes that never outlive the benchmark.

How it works
------------
Every child is the leader of its own process group and session, so that a Ctrl-C at the terminal
reaches the benchmark alone, which then ends its children in its own order: last started, first
ended, each by its own id.  A child gets SIGTERM and three seconds; then its whole group is
killed (nginx keeps a worker beside its master).  The clean-up is shielded from cancellation and
bounded, so that it also runs after an error, a Ctrl-C or a SIGTERM.

A child's standard output is read to the end by a task of the fleet: the first line that the
caller recognises is the ready line, the rest is dropped, and no child ever blocks on a full
pipe.  Its standard error goes to a file, whose end is quoted when the child fails.
"""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE

import trio

__all__ = [
    "BenchmarkError",
    "Child",
    "Fleet",
    "cpu_seconds_of",
    "family_of",
    "first_outgoing_port",
    "open_fleet",
    "parse_cpu_ticks",
    "parse_parent",
    "pick_ports",
    "run_tool",
]

STOP_SECONDS = 3.0
"""How long a child may drain after SIGTERM before its group is killed."""

READY_SECONDS = 15.0
"""How long a child may take to say that it is ready: a cold start of Python on a busy machine."""

PORT_FLOOR = 20_000
"""Lowest port picked for a listener."""


class BenchmarkError(Exception):
    """A program could not be started or measured; the text says which, where, and what to do."""


@dataclass(slots=True)
class Child:
    """One running program and what it said when it was ready."""

    name: str
    process: trio.Process
    log: Path
    ready_line: str = ""
    ready: trio.Event = field(default_factory=trio.Event)

    def check_alive(self) -> None:
        """Raise BenchmarkError, with the end of the program's log, if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise BenchmarkError(f"{self.name} ended with exit code {code}: {self.last_words()}")

    def last_words(self) -> str:
        """The last lines of the program's standard error, for an error message."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) or "(it wrote nothing to its standard error)"


class Fleet:
    """The children of one benchmark. Open it with `open_fleet`."""

    def __init__(self, nursery: trio.Nursery, folder: Path) -> None:
        self.folder = folder
        self._nursery = nursery
        self.children: list[Child] = []

    async def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        is_ready: Callable[[str], bool] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Start a program; with `is_ready`, return only when a line of its output satisfies it.

        Raises:
            BenchmarkError: it could not be executed, ended early, or did not become ready.

        Cancellation: keeps. A child once started belongs to the fleet, which ends it.
        """
        log = self.folder / f"{name}.log"
        with log.open("wb") as stderr:
            try:
                process = await trio.lowlevel.open_process(
                    list(command),
                    stdin=DEVNULL,
                    stdout=PIPE,
                    stderr=stderr,
                    start_new_session=True,
                    env={**os.environ, **(environment or {})},
                )
            except OSError as error:
                raise BenchmarkError(f"{name} could not be started: {error}") from error
        child = Child(name, process, log)
        self.children.append(child)
        self._nursery.start_soon(_drain_output, child, is_ready)
        if is_ready is not None:
            await self._wait_ready(child)
        return child

    async def _wait_ready(self, child: Child) -> None:
        with trio.move_on_after(READY_SECONDS):
            await child.ready.wait()
        if child.ready_line:
            return
        if child.ready.is_set():  # its output has ended, so that it is about to end too
            with trio.move_on_after(1):
                await child.process.wait()
        child.check_alive()
        raise BenchmarkError(
            f"{child.name} printed no ready line within {READY_SECONDS:g} s: {child.last_words()}"
        )

    async def stop_all(self) -> None:
        """End all children, last started first, each within STOP_SECONDS. Shielded."""
        with trio.CancelScope(shield=True):
            while self.children:
                await _stop(self.children.pop().process)


@asynccontextmanager
async def open_fleet(folder: Path) -> AsyncGenerator[Fleet, None]:
    """Open an empty fleet that keeps its logs in `folder` and ends every child on the way out."""
    async with trio.open_nursery() as nursery:
        fleet = Fleet(nursery, folder)
        try:
            yield fleet
        finally:
            await fleet.stop_all()
            nursery.cancel_scope.cancel()


async def run_tool(command: Sequence[str], *, timeout_seconds: float) -> str:
    """Run a program to its end and return its standard output.

    Raises:
        BenchmarkError: it failed or took longer than `timeout_seconds`.

    Cancellation: atomic. The program is ended first.
    """
    name = Path(command[0]).name
    with trio.move_on_after(timeout_seconds) as scope:
        try:
            done = await trio.run_process(
                list(command),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                start_new_session=True,
            )
        except OSError as error:
            raise BenchmarkError(f"{name} could not be started: {error}") from error
    if scope.cancelled_caught:
        raise BenchmarkError(f"{name} did not end within {timeout_seconds:g} s and was stopped")
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        words = (done.stderr.decode(errors="replace").strip() or output.strip())[-400:]
        raise BenchmarkError(f"{name} ended with exit code {done.returncode}: {words}")
    return output


def cpu_seconds_of(children: Sequence[Child]) -> float:
    """Return the processor time, of the user and of the system, that *children* have used so far.

    What they started and is still running counts too: nginx works in a process below its master,
    sshd in one for each connection.  0 off Linux.
    """
    ticks: dict[int, int] = {}
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended while we looked
            text = path.read_text(errors="replace")
            ticks[int(path.parent.name)] = parse_cpu_ticks(text)
            parents[int(path.parent.name)] = parse_parent(text)
    family = family_of((child.process.pid for child in children), parents)
    return sum(ticks.get(pid, 0) for pid in family) / os.sysconf("SC_CLK_TCK")


def family_of(roots: Iterable[int], parents: Mapping[int, int]) -> set[int]:
    """Return *roots* and everything below them, where *parents* says who is whose parent."""
    family: set[int] = set()
    grown = set(roots)
    while grown:
        family |= grown
        grown = {pid for pid, parent in parents.items() if parent in grown} - family
    return family


def parse_cpu_ticks(stat: str) -> int:
    """Return the sum of utime and stime in the text of /proc/PID/stat (proc_pid_stat(5))."""
    fields = stat.rpartition(")")[2].split()  # the name before may hold spaces and brackets
    return int(fields[11]) + int(fields[12])


def parse_parent(stat: str) -> int:
    """Return the parent's id in the text of /proc/PID/stat."""
    return int(stat.rpartition(")")[2].split()[1])


def first_outgoing_port() -> int:
    """Return the lowest local port that the kernel gives to outgoing connections."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768  # not Linux: the lowest common default


def pick_ports(count: int) -> list[int]:
    """Return free TCP ports of 127.0.0.1 below the kernel's range for outgoing connections.

    A port inside that range could be taken by one of the thousands of connections that a
    benchmark makes, between the moment it is picked and the moment a program binds it.
    """
    ceiling = max(first_outgoing_port(), PORT_FLOOR + 2000)
    candidates = list(range(PORT_FLOOR, ceiling))
    random.shuffle(candidates)
    ports: list[int] = []
    while len(ports) < count:
        if not candidates:
            raise BenchmarkError(f"no {count} free ports between {PORT_FLOOR} and {ceiling}")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port = candidates.pop()
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    return ports


async def _drain_output(child: Child, is_ready: Callable[[str], bool] | None) -> None:
    assert child.process.stdout is not None
    pending = b""
    async with child.process.stdout as output:
        async for chunk in output:
            if is_ready is None or child.ready_line:
                continue
            *lines, pending = (pending + chunk).split(b"\n")
            texts = [line.decode(errors="replace").strip() for line in lines]
            child.ready_line = next((text for text in texts if is_ready(text)), "")
            if child.ready_line:
                child.ready.set()
    child.ready.set()


async def _stop(process: trio.Process) -> None:
    if process.poll() is None:
        process.terminate()
        with trio.move_on_after(STOP_SECONDS):
            await process.wait()
    with suppress(ProcessLookupError):
        # Also after a clean end: the group is the child's own, and a worker may linger in it.
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
