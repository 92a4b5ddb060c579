"""Peers that multiplex: a relay of two processes over one Go library, yamux or smux.

Both get the same relay (`mux_relay/main.go`), the same window for a stream (4 MiB) and Go's
default of TCP_NODELAY.  The relay knows one target only, so that each door has its own pair of
processes with one connection between them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from benchmarks.load import Address, wait_body
from benchmarks.peers import BODY, HOST, Route, require_program, route_of
from benchmarks.processes import BenchmarkError, Fleet, pick_ports, run_tool

__all__ = ["build_relay", "start_smux", "start_yamux"]

SOURCES: Final = Path(__file__).with_name("mux_relay")

DEBIAN_GOPATH: Final = Path("/usr/share/gocode")
"""Where Debian's packages put the Go libraries that they bring."""

LIBRARIES: Final = {
    "yamux": ("hashicorp/yamux", "golang-github-hashicorp-yamux-dev"),
    "smux": ("xtaci/smux", "golang-github-xtaci-smux-dev"),
}
"""By library: its place under github.com, and Debian's package of it."""


async def start_yamux(fleet: Fleet, targets: Route) -> Route:
    """Build the relay with yamux and start its two processes, once for each door.

    Raises:
        BenchmarkError: something is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    return await _start(fleet, "yamux", targets)


async def start_smux(fleet: Fleet, targets: Route) -> Route:
    """Build the relay with smux and start its two processes, once for each door.

    Raises:
        BenchmarkError: something is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    return await _start(fleet, "smux", targets)


async def build_relay(library: str, folder: Path) -> Path:
    """Compile the relay with Debian's Go and one of LIBRARIES; return the program.

    Raises:
        BenchmarkError: Go or the library is not installed, or the build failed.

    Cancellation: atomic.
    """
    go = require_program("go")
    place, package = LIBRARIES[library]
    if not (DEBIAN_GOPATH / "src/github.com" / place).is_dir():
        raise BenchmarkError(f"{package} is not installed; `make system-deps` installs it")
    program = folder / f"{library}_relay"
    settings = ["GO111MODULE=off", f"GOPATH={DEBIAN_GOPATH}"]
    if "GOCACHE" not in os.environ and "HOME" not in os.environ:
        settings.append(f"GOCACHE={folder / 'go-cache'}")
    sources = [str(SOURCES / name) for name in ("main.go", f"{library}.go")]
    command = ["env", *settings, go, "build", "-o", str(program), *sources]
    await run_tool(command, timeout_seconds=120)
    return program


async def _start(fleet: Fleet, library: str, targets: Route) -> Route:
    program = str(await build_relay(library, fleet.folder))
    doors = {
        name: await _start_pair(fleet, program, f"{library}-{name}", target)
        for name, target in targets.doors.items()
    }
    await wait_body(doors["web"], BODY)
    return route_of(doors)


async def _start_pair(fleet: Fleet, program: str, name: str, target: Address) -> Address:
    link, listener = (Address(HOST, port) for port in pick_ports(2))
    for role, own, other in (("exit", link, target), ("entry", listener, link)):
        command = [program, role, str(own), str(other)]
        await fleet.start(f"{name}-{role}", command, is_ready=lambda line: line == "ready")
    return listener
