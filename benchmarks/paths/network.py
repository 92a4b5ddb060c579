"""Two network namespaces with one path between them, which nobody outside can see.

How it works
------------
The relay makes two TUN devices; one goes to the namespace of the entry, one to that of the exit,
and each gets an address.  Both namespaces have a loopback of their own and no other way out, so
that ports are free and addresses fixed.  A command runs inside by `ip netns exec`, which becomes
the command: its process id is that of the command.

Names hold the process id of the run.  The devices vanish with the relay, the namespaces are
removed when all that ran in them has been ended; what a killed run left is removed by the next.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from benchmarks.paths.cases import Profile
from benchmarks.peers import find_program, require_program
from benchmarks.processes import BenchmarkError, Fleet, run_tool

__all__ = [
    "ENTRY_ADDRESS",
    "EXIT_ADDRESS",
    "Network",
    "Side",
    "check_machine",
    "open_network",
    "stale_names",
]

ENTRY_ADDRESS: Final = "192.0.2.1"
EXIT_ADDRESS: Final = "192.0.2.2"
"""Of a block that is kept for examples (RFC 5737): no machine has such a neighbour."""

TOOL_SECONDS: Final = 10.0
ORDER_SECONDS: Final = 2.0

DEVICE_QUEUE_PACKETS: Final = 4000
"""What a device holds while the relay waits for a processor; its own queue is the bounded one."""

_PREFIX: Final = "bench"
_TUN: Final = Path("/dev/net/tun")
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Side:
    """One end of the path."""

    namespace: str
    device: str
    address: str

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs *command* here."""
        return [require_program("ip"), "netns", "exec", self.namespace, *command]


class Network:
    """Two sides, and the relay between them once it runs. Open it with `open_network`."""

    def __init__(self) -> None:
        self.entry = _side("entry", ENTRY_ADDRESS)
        self.exit = _side("exit", EXIT_ADDRESS)
        self._control: Path | None = None

    @property
    def sides(self) -> tuple[Side, Side]:
        """The side of the clients, then that of the targets."""
        return self.entry, self.exit

    async def start_relay(self, fleet: Fleet, profile: Profile) -> None:
        """Join the two sides by a path; it lasts as long as the relay, which the fleet ends.

        Raises:
            BenchmarkError: the relay did not start, or a device could not be set up.

        Cancellation: keeps. The relay belongs to the fleet.
        """
        control = fleet.folder / "relay.sock"
        flags = [self.entry.device, self.exit.device, "--control", str(control)]
        flags += ["--rate", str(profile.rate), "--delay", str(profile.delay)]
        flags += ["--queue", str(profile.queue_bytes), "--loss", str(profile.loss)]
        command = [sys.executable, "-m", "benchmarks.paths.relay", *flags]
        await fleet.start(
            "relay",
            command,
            is_ready=lambda line: line == "ready",
            environment={"PYTHONPATH": str(_ROOT)},
        )
        for side in self.sides:
            await _ip("link", "set", side.device, "netns", side.namespace)
            queue = str(DEVICE_QUEUE_PACKETS)
            size = ["mtu", str(profile.mtu), "txqueuelen", queue]
            await _ip("-n", side.namespace, "link", "set", side.device, *size, "up")
            address = f"{side.address}/30"
            await _ip("-n", side.namespace, "address", "add", address, "dev", side.device)
        self._control = control

    async def order(self, word: str) -> str:
        """Give the relay an order and return its answer; see `benchmarks.paths.relay`.

        Raises:
            BenchmarkError: it does not answer.

        Cancellation: atomic.
        """
        assert self._control is not None, "the relay has been started"
        own = self._control.with_name("relay-orders.sock")
        own.unlink(missing_ok=True)
        with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as orders:
            try:
                with trio.fail_after(ORDER_SECONDS):
                    await orders.bind(str(own))
                    await orders.sendto(word.encode(), str(self._control))
                    return (await orders.recv(4096)).decode()
            except (OSError, trio.TooSlowError) as error:
                raise BenchmarkError(f"the relay does not obey {word!r}: {error!r}") from error
            finally:
                own.unlink(missing_ok=True)


def check_machine() -> None:
    """Look whether namespaces and devices can be made here.

    Raises:
        BenchmarkError: they cannot; the text says what is missing and how to get it.
    """
    missing = []
    if os.geteuid() != 0:
        missing.append("root (run it by sudo)")
    if find_program("ip") is None:
        missing.append("ip (`make system-deps` installs it)")
    if not _TUN.exists():
        missing.append(f"{_TUN} (load the module `tun`; in a container, pass the device in)")
    if missing:
        raise BenchmarkError(f"network namespaces need what is missing here: {', '.join(missing)}")


@asynccontextmanager
async def open_network() -> AsyncGenerator[Network]:
    """Make two namespaces that nothing joins yet, and remove them on the way out.

    End what runs in them before; else it keeps them, without a name.

    Raises:
        BenchmarkError: they cannot be made here.
    """
    check_machine()
    network = Network()
    names = [side.namespace for side in network.sides]
    listed = (await _ip("netns", "list")).split("\n")
    for name in stale_names([line.split(" ")[0] for line in listed], _live_processes()):
        with suppress(BenchmarkError):  # another run removed it meanwhile
            await _ip("netns", "delete", name)
    try:
        for name in names:
            await _ip("netns", "add", name)
            await _ip("-n", name, "link", "set", "lo", "up")
        yield network
    finally:
        with trio.CancelScope(shield=True):
            for name in names:
                with suppress(BenchmarkError):  # it had not been made
                    await _ip("netns", "delete", name)


def stale_names(names: Collection[str], live: Collection[int]) -> list[str]:
    """Return those of *names* that belong to a run whose process is not among the *live*."""
    found = (re.fullmatch(rf"{_PREFIX}-(\d+)-(?:entry|exit)", name) for name in names)
    return [match.group() for match in found if match and int(match.group(1)) not in live]


def _side(name: str, address: str) -> Side:
    # The name of a device has at most 15 letters, and a process id at most 7 figures.
    return Side(f"{_PREFIX}-{os.getpid()}-{name}", f"{_PREFIX}{os.getpid()}{name[:2]}", address)


def _live_processes() -> set[int]:
    return {int(path.name) for path in Path("/proc").glob("[0-9]*")}


async def _ip(*arguments: str) -> str:
    return await run_tool([require_program("ip"), *arguments], timeout_seconds=TOOL_SECONDS)
