"""The programs of ours in a scene: started, joined, and asked how they are.

Sidecar, devbox and brokers are the shipped ones.  Their admin sockets lie in the folder of the
trial and can be reached from anywhere, also where the programs run in namespaces.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import trio

from benchmarks import programs
from benchmarks.load import Address
from benchmarks.peers import HOST
from benchmarks.processes import BenchmarkError, Child, Fleet
from benchmarks.programs import Credentials
from tunnelkit.admin import call_admin
from tunnelkit.errors import TunnelError

__all__ = ["Crew", "Plot", "carrier_of", "is_joined", "link_flags", "start_source"]

MEETING_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.02
CLOSED_PORT: Final = 9
"""The sidecar's local target: a download that falls back to it fails."""

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Plot:
    """What every scene is made of."""

    folder: Path
    """Of this trial alone."""
    credentials: Credentials
    source_seconds: float
    """How long a download lasts at its source."""


class Crew:
    """Sidecar, devbox and brokers of one scene, and the source behind them.

    Args:
        plot: what every scene is made of.
        fleet: owns the processes.
        entry: what stands before the commands on the sidecar's side, to run them in a namespace.
        exit_: the same on the devbox's side.
    """

    def __init__(
        self, plot: Plot, fleet: Fleet, entry: Sequence[str] = (), exit_: Sequence[str] = ()
    ) -> None:
        missing = programs.missing_programs()
        if missing:
            raise BenchmarkError(f"this clone does not hold {', '.join(missing)}")
        self.fleet = fleet
        self.brokers: dict[str, Child] = {}
        """By address of its links."""
        self._plot = plot
        self._entry = entry
        self._exit = exit_

    def socket(self, name: str) -> str:
        """Return the path of an endpoint's admin socket."""
        return str(self._plot.folder / f"{name}.sock")

    async def start_broker(self, address: str = f"tcp://{HOST}:0") -> str:
        """Start a broker and return where it accepts links."""
        flags = ["--listen", address, "--keys", str(self._plot.credentials.ring)]
        name = f"broker-{len(self.fleet.children)}"
        child = await programs.start_program(self.fleet, "broker", name, flags)
        self.brokers[programs.first_link(child)] = child
        return programs.first_link(child)

    async def start_devbox(self, *flags: str) -> str:
        """Start the source and the devbox before it; return where it accepts links."""
        source = await start_source(self.fleet, self._plot, self._exit)
        everything = [*self._plot.credentials.flags(programs.DEVBOX), *flags]
        everything += ["--target", f"web={source}", "--admin", self.socket("devbox")]
        child = await programs.start_program(
            self.fleet, "devbox_proxy", "devbox", everything, self._exit
        )
        return programs.first_link(child) if "--listen" in flags else ""

    async def start_sidecar(self, links: Collection[str]) -> Address:
        """Start the sidecar; return its door once it and the devbox are joined."""
        flags = [*self._plot.credentials.flags(programs.SIDECAR), *link_flags(links)]
        flags += ["--port", f"web={HOST}:0,{HOST}:{CLOSED_PORT}"]
        flags += ["--intercept", f"web={programs.DEVBOX}", "--admin", self.socket("sidecar")]
        child = await programs.start_program(
            self.fleet, "sidecar_proxy", "sidecar", flags, self._entry
        )
        await self.wait_status("sidecar", lambda status: is_joined(status, len(links)))
        return programs.listener_of(child, "web")

    async def wait_status(
        self, name: str, is_good: Callable[[Mapping[str, Any]], bool]
    ) -> Mapping[str, Any]:
        """Wait until the status of an endpoint is good, and return it.

        Raises:
            BenchmarkError: it is not within MEETING_SECONDS, or the endpoint does not answer.
        """
        status: Mapping[str, Any] = {}
        with trio.move_on_after(MEETING_SECONDS):
            while True:
                try:
                    answer = await call_admin(self.socket(name), "status")
                except TunnelError as error:
                    raise BenchmarkError(f"{name} does not tell its status: {error}") from error
                status = cast(Mapping[str, Any], answer)
                if is_good(status):
                    return status
                await trio.sleep(LOOK_SECONDS)
        raise BenchmarkError(f"{name} did not get there within {MEETING_SECONDS:g} s: {status}")

    async def carrier(self) -> str:
        """Return the address of the link that carries the session."""
        status = await self.wait_status("sidecar", lambda status: bool(carrier_of(status)))
        return carrier_of(status)

    async def move(self, address: str) -> None:
        """Move the session to the link at *address*, as `python -m tunnelkit.admin` does.

        Raises:
            BenchmarkError: that was refused.
        """
        order = {"peer": programs.DEVBOX, "address": address}
        try:
            await call_admin(self.socket("sidecar"), "move", order)
        except TunnelError as error:
            raise BenchmarkError(f"the session was not moved: {error}") from error


def is_joined(status: Mapping[str, Any], link_count: int) -> bool:
    """Tell whether an endpoint has a session, and so many links."""
    up = [link for link in status["links"] if link["state"] == "up"]
    return bool(carrier_of(status)) and len(up) >= link_count


def carrier_of(status: Mapping[str, Any]) -> str:
    """Return the address of the link that carries the session of an endpoint; "": there is none."""
    links = (session["link"] for session in status["sessions"] if session["state"] == "open")
    return str(next(links, ""))


async def start_source(fleet: Fleet, plot: Plot, within: Sequence[str] = ()) -> Address:
    """Start the source on the side that *within* names; return where it listens there.

    Raises:
        BenchmarkError: it did not start.
    """
    command = [*within, sys.executable, str(_HERE / "source.py"), str(plot.source_seconds)]
    child = await fleet.start("source", command, is_ready=lambda line: line.startswith("ready"))
    return Address(HOST, int(child.ready_line.split()[1]))


def link_flags(links: Collection[str]) -> list[str]:
    """Return the flags by which an endpoint keeps links to all of these."""
    return [text for link in links for text in ("--link", link)]
