"""The servers behind every route, and the peers that we are compared with.

Targets: one nginx (one worker) with a port of its own for each route, one iperf3 server for each
route, and a decoy.  Separate ports keep the routes apart: connections in TIME_WAIT belong to one
pair of addresses and ports, so that a round of new connections through one route never uses up
the local ports of the next.  (nginx closes first under `Connection: close`, so that most
TIME_WAIT entries lie on the server's side, where they block nobody; the rounds are short all the
same.)

The modules beside this one hold the peers, each of which relays to such a route; `starters.py`
lists them.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.load import Address, wait_body
from benchmarks.processes import BenchmarkError, Fleet, pick_ports

__all__ = [
    "BODY",
    "FROM_EXTRA",
    "HOST",
    "Route",
    "Targets",
    "find_program",
    "require_program",
    "start_targets",
]

HOST = "127.0.0.1"

BODY = b"benchmark target ".ljust(612, b".")
"""What the target answers: as long as the welcome page that nginx is usually measured with."""

FROM_DEBIAN: Final = "`make system-deps` installs it"
FROM_EXTRA: Final = "`pip install -e '.[peers]'` installs it"
"""How to get a program that is missing."""

DECOY_BODY = b"the decoy, not the target"

NGINX_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder}/nginx;
    proxy_temp_path {folder}/nginx;
    fastcgi_temp_path {folder}/nginx;
    uwsgi_temp_path {folder}/nginx;
    scgi_temp_path {folder}/nginx;
    server {{
{listeners}
        location / {{ return 200 "{body}"; }}
    }}
    server {{
        listen {decoy};
        location / {{ return 503 "{decoy_body}"; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Route:
    """The two doors of one route. `bulk` is None where iperf3 is not installed."""

    web: Address
    bulk: Address | None


@dataclass(frozen=True, slots=True)
class Targets:
    """What stands behind the routes: by route, the servers that it must lead to."""

    behind: Mapping[str, Route]
    decoy: Route
    """Servers that no intercepted connection may reach: one answers 503, one is a closed port."""


def find_program(name: str) -> str | None:
    """Return the path of a program.

    It is found too where only root has its folder on the search path, and where pip put it beside
    the interpreter.
    """
    more = ("/usr/local/sbin", "/usr/sbin", sysconfig.get_path("scripts"))
    folders = os.pathsep.join([os.environ.get("PATH", ""), *more])
    return shutil.which(name, path=folders)


def require_program(name: str, way: str = FROM_DEBIAN) -> str:
    """Return the path of a program.

    Args:
        way: how to get it, for the error.

    Raises:
        BenchmarkError: it is not installed.
    """
    path = find_program(name)
    if path is None:
        raise BenchmarkError(f"{name} is not installed; {way}")
    return path


async def start_targets(fleet: Fleet, routes: Collection[str], *, bulk: bool) -> Targets:
    """Start nginx and, with `bulk`, the iperf3 servers; each route gets ports of its own.

    Raises:
        BenchmarkError: one of them did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    ports = [Address(HOST, port) for port in pick_ports(2 * len(routes) + 2)]
    decoy = Route(ports.pop(), ports.pop())
    behind = {name: Route(ports.pop(), ports.pop() if bulk else None) for name in routes}
    await _start_nginx(fleet, [route.web for route in behind.values()], decoy.web)
    for name, route in behind.items():
        if route.bulk is not None:
            await _start_iperf3(fleet, f"iperf3-{name}", route.bulk)
    return Targets(behind, decoy)


async def _start_nginx(fleet: Fleet, listeners: Collection[Address], decoy: Address) -> None:
    configuration = fleet.folder / "nginx.conf"
    lines = "\n".join(f"        listen {address} backlog=4096;" for address in listeners)
    configuration.write_text(
        NGINX_CONFIGURATION.format(
            folder=fleet.folder,
            listeners=lines,
            body=BODY.decode(),
            decoy=decoy,
            decoy_body=DECOY_BODY.decode(),
        )
    )
    command = [require_program("nginx"), "-c", str(configuration), "-p", str(fleet.folder)]
    child = await fleet.start("nginx", [*command, "-e", "stderr"])
    for address in listeners:
        child.check_alive()
        await wait_body(address, BODY)
    await wait_body(decoy, DECOY_BODY)


async def _start_iperf3(fleet: Fleet, name: str, address: Address) -> None:
    # Its ready line is waited for, and no connection made to look: it takes one for a test.
    command = [require_program("iperf3"), "-s", "-B", address.host, "-p", str(address.port)]
    command.append("--forceflush")
    await fleet.start(name, command, is_ready=lambda line: "listening" in line)
