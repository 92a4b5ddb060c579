"""The servers behind every route, and the peers that we are compared with.

Targets: one nginx (one worker) with ports of its own for each route, one iperf3 server for each
route, one target of our own load (`mixed_load/`) for each, a target of long bodies (`http_load/`)
with a port for each, and a decoy.  nginx answers requests, and calls of gRPC, each of them with the
same message: so the target takes far less time than what is measured.  Separate ports keep the
routes apart: connections in TIME_WAIT belong to one pair of addresses and ports, so that a round of
new connections through one route never uses up the local ports of the next.  (nginx closes first
under `Connection: close`, so that most TIME_WAIT entries lie on the server's side, where they block
nobody; the rounds are short all the same.)

The modules beside this one hold the peers, each of which relays to such a route; `starters.py`
lists them.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.http_load import MESSAGE
from benchmarks.load import Address, wait_body
from benchmarks.processes import BenchmarkError, Fleet, pick_ports

__all__ = [
    "BODY",
    "FROM_EXTRA",
    "HOST",
    "Route",
    "Targets",
    "find_program",
    "pick_doors",
    "require_program",
    "route_of",
    "start_targets",
]

HOST = "127.0.0.1"

BODY = b"benchmark target ".ljust(612, b".")
"""What the target answers: as long as the welcome page that nginx is usually measured with."""

FROM_DEBIAN: Final = "`make system-deps` installs it"
FROM_EXTRA: Final = "`pip install -e '.[peers]'` installs it"
"""How to get a program that is missing."""

DOORS: Final = ("web", "bulk", "mixed", "body", "calls")

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
{calls}
}}
"""

# The mirror makes nginx read a message to its end before it answers, as a server of gRPC does; else
# it would reset every stream behind its answer.  In quotes it takes bytes of value 0 as any others.
NGINX_CALLS = """
    server {{
{listeners}
        default_type application/grpc;
        add_trailer grpc-status 0 always;
        location / {{ mirror /read; empty_gif; error_page 405 =200 /answer; }}
        location = /read {{ internal; return 204; }}
        location = /answer {{ internal; return 200 "{answer}"; }}
    }}
"""


@dataclass(frozen=True, slots=True)
class Route:
    """The doors of one route; all but `web` are None where no load of the run needs them."""

    web: Address
    bulk: Address | None = None
    """The door to iperf3."""
    mixed: Address | None = None
    """The door to the target of our own load."""
    body: Address | None = None
    """The door to the target of long bodies, HTTP/1.1."""
    calls: Address | None = None
    """The door to the target of gRPC, HTTP/2 without TLS."""

    @property
    def doors(self) -> dict[str, Address]:
        """The doors that there are, by their names."""
        doors = {name: getattr(self, name) for name in DOORS}
        return {name: address for name, address in doors.items() if address is not None}


@dataclass(frozen=True, slots=True)
class Targets:
    """What stands behind the routes: by route, the servers that it must lead to."""

    behind: Mapping[str, Route]
    decoy: Route
    """Servers that no intercepted connection may reach: one answers 503, else ports are closed."""


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


def route_of(doors: Mapping[str, Address]) -> Route:
    """Return the route with these doors, one of which is `web`."""
    return Route(doors["web"], **{name: doors.get(name) for name in DOORS if name != "web"})


def pick_doors(like: Route) -> Route:
    """Return a route with the same doors as *like*, at addresses that are free."""
    ports = pick_ports(len(like.doors))
    pairs = zip(like.doors, ports, strict=True)
    return route_of({name: Address(HOST, port) for name, port in pairs})


async def start_targets(
    fleet: Fleet,
    routes: Collection[str],
    *,
    bulk: bool,
    mixed: Path | None = None,
    bodies: Path | None = None,
    calls: bool = False,
) -> Targets:
    """Start nginx and, with `bulk`, the iperf3 servers; each route gets ports of its own.

    With `mixed`, the program of our own load, each also gets a target of that; with `bodies`, the
    program of `http_load`, a port of its target; with `calls` a port of nginx for gRPC.

    Raises:
        BenchmarkError: one of them did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    wanted = {"web": True, "bulk": bulk, "mixed": mixed, "body": bodies, "calls": calls}
    names = [name for name in DOORS if wanted[name]]
    ports = [Address(HOST, port) for port in pick_ports(len(names) * (len(routes) + 1))]
    decoy = route_of({name: ports.pop() for name in names})
    behind = {route: route_of({name: ports.pop() for name in names}) for route in routes}
    await _start_nginx(fleet, list(behind.values()), decoy.web)
    for name, route in behind.items():
        if route.bulk is not None:
            await _start_iperf3(fleet, f"iperf3-{name}", route.bulk)
        if route.mixed is not None:
            command = [str(mixed), "target", str(route.mixed)]
            await fleet.start(f"mixed-{name}", command, is_ready=lambda line: line == "ready")
    if bodies is not None:
        command = [str(bodies), "target", *(str(route.body) for route in behind.values())]
        await fleet.start("bodies", command, is_ready=lambda line: line == "ready")
    return Targets(behind, decoy)


async def _start_nginx(fleet: Fleet, routes: Collection[Route], decoy: Address) -> None:
    configuration = fleet.folder / "nginx.conf"
    web = [route.web for route in routes]
    configuration.write_text(
        NGINX_CONFIGURATION.format(
            folder=fleet.folder,
            listeners="\n".join(f"        listen {address} backlog=4096;" for address in web),
            body=BODY.decode(),
            decoy=decoy,
            decoy_body=DECOY_BODY.decode(),
            calls=_nginx_calls(routes),
        )
    )
    command = [require_program("nginx"), "-c", str(configuration), "-p", str(fleet.folder)]
    child = await fleet.start("nginx", [*command, "-e", "stderr"])
    for address in web:
        child.check_alive()
        await wait_body(address, BODY)
    await wait_body(decoy, DECOY_BODY)


def _nginx_calls(routes: Iterable[Route]) -> str:
    """Return what nginx is told of gRPC, "" where nobody calls."""
    addresses = [route.calls for route in routes if route.calls is not None]
    if not addresses:
        return ""
    head = b"\0" + len(MESSAGE).to_bytes(4, "big")  # not compressed, and how long it is
    listeners = "\n".join(f"        listen {address} http2;" for address in addresses)
    return NGINX_CALLS.format(listeners=listeners, answer=(head + MESSAGE).decode())


async def _start_iperf3(fleet: Fleet, name: str, address: Address) -> None:
    # Its ready line is waited for, and no connection made to look: it takes one for a test.
    command = [require_program("iperf3"), "-s", "-B", address.host, "-p", str(address.port)]
    command.append("--forceflush")
    await fleet.start(name, command, is_ready=lambda line: "listening" in line)
