"""Who runs in each case, and what is done to them.

A *scene* is a tunnel before a source, ready for a download, and the one thing that can happen to
it.  All programs of ours are the shipped ones.  Clients are on the sidecar's side, the source is
on the devbox's, so that a download crosses the tunnel from devbox to sidecar.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from benchmarks.load import Address
from benchmarks.paths.cases import Profile
from benchmarks.paths.network import EXIT_ADDRESS, open_network
from benchmarks.peers import HOST, require_program
from benchmarks.peers.mux import build_relay
from benchmarks.peers.openssh import KEEP_OPEN, configure, make_keys, wait_listening
from benchmarks.processes import BenchmarkError, Child, Fleet, open_fleet, pick_ports
from benchmarks.resume.cases import CUT, OURS
from benchmarks.resume.crew import Crew, Plot, is_joined, link_flags, start_source
from benchmarks.resume.cutter import Cutter, open_cutter

__all__ = ["SCENES", "Scene"]

SILENT_SECONDS: Final = 1.0
PATH: Final = Profile(
    "silent", "a path that falls silent", megabits=1000, round_trip_ms=1, mtu=9000
)
"""Fast enough that what is lost and sent again takes no time worth mentioning."""

Happening = Callable[[], Awaitable[float]]
"""Does what happens; returns how long something was really away, seconds."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A tunnel, ready for a download."""

    fleet: Fleet
    door: Address
    """Where a client gets the download."""
    happen: Happening
    within: Sequence[str] = ()
    """What stands before the command of a client."""


# --- scenes of ours -------------------------------------------------------------------------


@asynccontextmanager
async def _open_direct(plot: Plot, *, is_cut: bool) -> AsyncGenerator[Scene]:
    async with open_fleet(plot.folder) as fleet:
        ours = Crew(plot, fleet)
        link = await ours.start_devbox("--listen", f"tcp://{HOST}:0")
        async with open_cutter(_address(link), HOST) as cutter:
            door = await ours.start_sidecar([f"tcp://{cutter.address}"])
            yield Scene(fleet, door, partial(_cut, cutter) if is_cut else _nothing)
            if is_cut and cutter.accepted_count < 2:
                raise BenchmarkError("the link was not dialled again: it was not cut at all?")


@asynccontextmanager
async def _open_one_broker(plot: Plot) -> AsyncGenerator[Scene]:
    async with open_fleet(plot.folder) as fleet:
        ours = Crew(plot, fleet)
        broker = await ours.start_broker()
        await ours.start_devbox("--link", broker)
        door = await ours.start_sidecar([broker])

        async def restart() -> float:
            start = trio.current_time()
            await _kill(ours.brokers[broker])
            await ours.start_broker(broker)
            return trio.current_time() - start

        yield Scene(fleet, door, restart)


@asynccontextmanager
async def _open_two_brokers(plot: Plot, *, is_kill: bool) -> AsyncGenerator[Scene]:
    async with open_fleet(plot.folder) as fleet:
        ours = Crew(plot, fleet)
        brokers = [await ours.start_broker() for _ in range(2)]
        await ours.start_devbox(*link_flags(brokers))
        door = await ours.start_sidecar(brokers)
        await ours.wait_status("devbox", lambda status: is_joined(status, len(brokers)))
        first = await ours.carrier()
        other = next(address for address in brokers if address != first)

        async def kill() -> float:
            await _kill(ours.brokers[first])
            return 0.0

        async def move() -> float:
            await ours.move(other)
            return 0.0

        yield Scene(fleet, door, kill if is_kill else move)
        if await ours.carrier() != other:
            raise BenchmarkError(f"the session is not at {other}, where it had to go")


@asynccontextmanager
async def _open_path(plot: Plot) -> AsyncGenerator[Scene]:
    async with open_network() as network, open_fleet(plot.folder) as fleet:
        await network.start_relay(fleet, PATH)
        entry, exit_ = (side.inside([]) for side in network.sides)
        ours = Crew(plot, fleet, entry, exit_)
        link = await ours.start_devbox("--listen", f"tcp://{EXIT_ADDRESS}:0")
        door = await ours.start_sidecar([link])

        async def silence() -> float:
            start = trio.current_time()
            await network.order("silence")
            await trio.sleep(SILENT_SECONDS)
            await network.order("pass")
            return trio.current_time() - start

        yield Scene(fleet, door, silence, entry)


# --- scenes of peers ------------------------------------------------------------------------


@asynccontextmanager
async def _open_mux(plot: Plot, library: str) -> AsyncGenerator[Scene]:
    async with open_fleet(plot.folder) as fleet:
        program = str(await build_relay(library, plot.folder))
        source = await start_source(fleet, plot)
        link, door = (Address(HOST, port) for port in pick_ports(2))

        def is_ready(line: str) -> bool:
            return line == "ready"

        leave = [program, "exit", str(link), str(source)]
        await fleet.start(f"{library}-exit", leave, is_ready=is_ready)
        async with open_cutter(link, HOST) as cutter:
            enter = [program, "entry", str(door), str(cutter.address)]
            await fleet.start(f"{library}-entry", enter, is_ready=is_ready)
            yield Scene(fleet, door, partial(_cut, cutter))


@asynccontextmanager
async def _open_openssh(plot: Plot) -> AsyncGenerator[Scene]:
    async with open_fleet(plot.folder) as fleet:
        sshd, ssh = require_program("sshd"), require_program("ssh")
        source = await start_source(fleet, plot)
        link, door = (Address(HOST, port) for port in pick_ports(2))
        folder = plot.folder / "openssh"
        await make_keys(folder)
        configure(folder, link)
        server = await fleet.start("sshd", [sshd, "-D", "-e", "-f", str(folder / "server.conf")])
        await wait_listening(server, link)
        async with open_cutter(link, HOST) as cutter:
            client = [ssh, "-F", str(folder / "client.conf"), "-p", str(cutter.address.port)]
            client += ["-tt", "-L", f"{door}:{source}", HOST, KEEP_OPEN]
            await wait_listening(await fleet.start("ssh", client), door)
            yield Scene(fleet, door, partial(_cut, cutter))


SCENES: Final[Mapping[tuple[str, str], Callable[[Plot], AbstractAsyncContextManager[Scene]]]] = {
    ("nothing", OURS): partial(_open_direct, is_cut=False),
    (CUT, OURS): partial(_open_direct, is_cut=True),
    ("broker_restart", OURS): _open_one_broker,
    ("broker_second", OURS): partial(_open_two_brokers, is_kill=True),
    ("path_silent", OURS): _open_path,
    ("moved", OURS): partial(_open_two_brokers, is_kill=False),
    (CUT, "yamux"): partial(_open_mux, library="yamux"),
    (CUT, "smux"): partial(_open_mux, library="smux"),
    (CUT, "openssh_l"): _open_openssh,
}
"""By case and subject.  Each raises BenchmarkError where something is missing, or went otherwise;
leaving a scene ends its processes."""


# --- what they have in common ---------------------------------------------------------------


async def _nothing() -> float:
    return 0.0


async def _cut(cutter: Cutter) -> float:
    if not cutter.cut():
        raise BenchmarkError("there was no connection to cut")
    return 0.0


async def _kill(child: Child) -> None:
    child.check_alive()
    child.process.kill()
    await child.process.wait()


def _address(link: str) -> Address:
    host, _, port = link.partition("://")[2].rpartition(":")
    return Address(host, int(port))
