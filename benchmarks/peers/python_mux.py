"""Peers that multiplex in Python: relays of two processes over snitun, asyncssh or py-libp2p.

Each is a small program beside this file, which says what was set in its favour and what cannot be
set.  It knows one target only, so that each door has its own pair of processes with one
connection between them.  snitun and asyncssh run on asyncio and py-libp2p on Trio; the
programs import nothing of this project.

py-libp2p brings fifty packages and compiles one of them, so that it has an environment of its own.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.load import Address, wait_body
from benchmarks.peers import BODY, HOST, Route, route_of
from benchmarks.processes import BenchmarkError, Fleet, pick_ports

__all__ = [
    "LIBP2P_FOLDER",
    "require_libp2p",
    "require_package",
    "start_asyncssh",
    "start_libp2p",
    "start_snitun",
]

HERE: Final = Path(__file__).resolve().parent

LIBP2P_FOLDER: Final = HERE.parents[1] / ".bench" / "libp2p"
"""The environment that `make bench` makes for py-libp2p; it ends with a file `.installed`."""


async def start_snitun(fleet: Fleet, targets: Route) -> Route:
    """Start two processes with snitun's multiplexer between them, once for each door.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    return await _start(fleet, "snitun", require_package("snitun"), targets)


async def start_asyncssh(fleet: Fleet, targets: Route) -> Route:
    """Start asyncssh's server and its client, once for each door.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    return await _start(fleet, "asyncssh", require_package("asyncssh"), targets)


async def start_libp2p(fleet: Fleet, targets: Route) -> Route:
    """Start two processes with py-libp2p's yamux between them, once for each door.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    return await _start(fleet, "libp2p", require_libp2p(LIBP2P_FOLDER), targets)


def require_package(name: str, project: str = "") -> str:
    """Return the interpreter that has a package, which is our own.

    Args:
        project: what is installed to get it, where that has another name.

    Raises:
        BenchmarkError: the package is not installed.
    """
    if find_spec(name) is None:
        way = "`pip install -e '.[peers]'` installs it"
        raise BenchmarkError(f"{project or name} is not installed; {way}")
    return sys.executable


def require_libp2p(folder: Path) -> str:
    """Return the interpreter of the environment in *folder*.

    Raises:
        BenchmarkError: the environment has not been made.
    """
    if not (folder / ".installed").is_file():
        raise BenchmarkError("libp2p is not installed; `make .bench/libp2p/.installed` installs it")
    return str(folder / "bin" / "python")


async def _start(fleet: Fleet, library: str, python: str, targets: Route) -> Route:
    command = [python, str(HERE / f"{library}_relay.py")]
    doors = {
        name: await _start_pair(fleet, command, f"{library}-{name}", target)
        for name, target in targets.doors.items()
    }
    await wait_body(doors["web"], BODY)
    return route_of(doors)


async def _start_pair(fleet: Fleet, command: list[str], name: str, target: Address) -> Address:
    link, listener = (Address(HOST, port) for port in pick_ports(2))
    for role, own, other in (("exit", link, target), ("entry", listener, link)):
        arguments = [*command, role, str(own), str(other)]
        await fleet.start(f"{name}-{role}", arguments, is_ready=lambda line: line == "ready")
    return listener
