"""Peers that read requests in Python: mitmproxy, hypercorn with httpx2, and a proxy on grpc.aio.

All run on asyncio.  The last two are small programs beside this file, which say what was set in
their favour.  mitmproxy is its own `mitmdump` in reverse mode, without addons of ours: no rule, no
log, no flow kept.  It asks for older versions of h11, h2, wsproto and cryptography than this
project does, so that it has an environment of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from benchmarks.load import Address, wait_body
from benchmarks.peers import BODY, HOST, Route
from benchmarks.peers.python_mux import require_package
from benchmarks.processes import BenchmarkError, Fleet, pick_ports

__all__ = [
    "MITMPROXY_FOLDER",
    "require_mitmproxy",
    "start_grpc_proxy",
    "start_hypercorn",
    "start_mitmproxy",
]

HERE: Final = Path(__file__).resolve().parent

MITMPROXY_FOLDER: Final = HERE.parents[1] / ".bench" / "mitmproxy"
"""The environment that `make bench` makes for mitmproxy; it ends with a file `.installed`."""

MITMPROXY_SETTINGS: Final = (
    "flow_detail=0",
    "onboarding=false",  # its own page, which would be looked for in every request
    "stream_large_bodies=1m",
    "termlog_verbosity=error",
)


async def start_mitmproxy(fleet: Fleet, targets: Route) -> Route:
    """Start mitmdump in reverse mode in front of the target of requests.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    door = _pick_door()
    command = [require_mitmproxy(MITMPROXY_FOLDER), "--quiet"]
    command += ["--mode", f"reverse:http://{targets.web}"]
    command += ["--listen-host", door.host, "--listen-port", str(door.port)]
    own = f"confdir={fleet.folder / 'mitmproxy'}"  # for the certificates that it makes
    for setting in (*MITMPROXY_SETTINGS, own):
        command += ["--set", setting]
    return await _start_web(fleet, "mitmproxy", command, door)


async def start_hypercorn(fleet: Fleet, targets: Route) -> Route:
    """Start the proxy of hypercorn and httpx2 in front of the target of requests.

    Raises:
        BenchmarkError: one of them is not installed, or it did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    door = _pick_door()
    for package in ("hypercorn", "httpx2"):
        python = require_package(package)
    command = [python, str(HERE / "hypercorn_proxy.py"), str(door), str(targets.web)]
    return await _start_web(fleet, "hypercorn", command, door)


async def start_grpc_proxy(fleet: Fleet, targets: Route) -> Route:
    """Start the proxy on grpc.aio in front of the target of calls.

    It carries calls alone: the door of its requests is the target itself, which a run asks for its
    body before every measurement.

    Raises:
        BenchmarkError: grpcio is not installed, or it did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    if targets.calls is None:
        raise BenchmarkError("the proxy on grpc.aio carries calls, and this run makes none")
    require_package("grpc", "grpcio")
    door = _pick_door()
    command = [sys.executable, str(HERE / "grpc_aio_proxy.py"), str(door), str(targets.calls)]
    await fleet.start("grpc_proxy", command, is_ready=lambda line: line == "ready")
    return Route(targets.web, calls=door)


def require_mitmproxy(folder: Path) -> str:
    """Return mitmdump of the environment in *folder*.

    Raises:
        BenchmarkError: the environment has not been made.
    """
    if not (folder / ".installed").is_file():
        way = "`make .bench/mitmproxy/.installed` installs it"
        raise BenchmarkError(f"mitmproxy is not installed; {way}")
    return str(folder / "bin" / "mitmdump")


def _pick_door() -> Address:
    return Address(HOST, *pick_ports(1))


async def _start_web(fleet: Fleet, name: str, command: list[str], door: Address) -> Route:
    child = await fleet.start(name, command)
    try:
        await wait_body(door, BODY)
    except BenchmarkError:
        child.check_alive()
        raise
    return Route(door)
