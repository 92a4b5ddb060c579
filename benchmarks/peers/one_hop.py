"""Peers with one hop and no multiplexing: HAProxy, nginx's stream module, a plain Trio relay.

Each is one process with one thread that accepts, dials the target and copies both ways in user
space (no splicing).  Buffers are the default of each program, but for nginx: with 256 KiB in place
of 16 a gigabyte costs it a third less, and a request as much.  HAProxy, which the targets are
about, is there twice: as it comes, with 16 KiB, and with 256.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from benchmarks.load import wait_body
from benchmarks.peers import BODY, Route, pick_doors, require_program
from benchmarks.processes import BenchmarkError, Fleet

__all__ = [
    "start_haproxy",
    "start_haproxy_256k",
    "start_haproxy_http",
    "start_nginx_stream",
    "start_trio",
    "stream_module",
]

HAPROXY_CONFIGURATION = """
global
    nbthread 1
    maxconn 8192
{settings}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
"""

HAPROXY_DOOR = """
listen {name}
    bind {door}
    server target {target}
"""

HAPROXY_HTTP = """
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
"""

# The rule takes no request, as ours does not; connections to the target are used again.
HAPROXY_HTTP_DOOR = """
frontend {name}
    bind {door}{protocol}
    acl is_developer hdr(x-user) -m str nobody
    use_backend {name}_developer if is_developer
    default_backend {name}_target
backend {name}_target
    server target {target}{protocol}
backend {name}_developer
    server target {target}{protocol}
"""

HTTP2_DOORS: Final = {"calls": " proto h2"}
"""By door, how HAProxy is told that both sides of it speak HTTP/2 from their first byte."""

# TCP_NODELAY is nginx's default here, as the log's absence is.
NGINX_CONFIGURATION = """
{load_module}
daemon off;
worker_processes 1;
pid {folder}/nginx_stream.pid;
error_log stderr error;
events {{ worker_connections 16384; }}
stream {{
    proxy_connect_timeout 5s;
    proxy_timeout 1h;
    proxy_buffer_size 256k;
{servers}
}}
"""

NGINX_DOOR = "    server {{ listen {door} backlog=4096; proxy_pass {target}; }}\n"

MODULE_NAME: Final = "ngx_stream_module.so"

TRIO_RELAY: Final = Path(__file__).with_name("trio_relay.py")


async def start_haproxy(fleet: Fleet, targets: Route) -> Route:
    """Start HAProxy, as it comes, in front of `targets`.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    return await _start_haproxy(fleet, "haproxy", targets, "")


async def start_haproxy_256k(fleet: Fleet, targets: Route) -> Route:
    """Start HAProxy with buffers of 256 KiB in front of `targets`.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    return await _start_haproxy(fleet, "haproxy_256k", targets, "    tune.bufsize 262144")


async def start_haproxy_http(fleet: Fleet, targets: Route) -> Route:
    """Start HAProxy in HTTP mode, with a rule about a header, in front of `targets`.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    program = require_program("haproxy")
    doors = pick_doors(targets)
    configuration = fleet.folder / "haproxy_http.cfg"
    configuration.write_text(HAPROXY_HTTP + _per_door(HAPROXY_HTTP_DOOR, doors, targets))
    return await _start(
        fleet, "haproxy_http", [program, "-q", "-db", "-f", str(configuration)], doors
    )


async def _start_haproxy(fleet: Fleet, name: str, targets: Route, settings: str) -> Route:
    program = require_program("haproxy")
    doors = pick_doors(targets)
    configuration = fleet.folder / f"{name}.cfg"
    head = HAPROXY_CONFIGURATION.format(settings=settings)
    configuration.write_text(head + _per_door(HAPROXY_DOOR, doors, targets))
    return await _start(fleet, name, [program, "-q", "-db", "-f", str(configuration)], doors)


async def start_nginx_stream(fleet: Fleet, targets: Route) -> Route:
    """Start an nginx of its own whose stream module relays to `targets`.

    Raises:
        BenchmarkError: nginx or its module is not installed, or it did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    program = require_program("nginx")
    done = await trio.run_process(
        [program, "-V"], check=False, capture_stdout=True, stderr=subprocess.STDOUT
    )
    module = stream_module(done.stdout.decode(errors="replace"))
    if module is not None and not module.is_file():
        raise BenchmarkError("libnginx-mod-stream is not installed; `make system-deps` installs it")
    doors = pick_doors(targets)
    configuration = fleet.folder / "nginx_stream.conf"
    load_module = f"load_module {module};" if module else ""
    servers = _per_door(NGINX_DOOR, doors, targets)
    configuration.write_text(
        NGINX_CONFIGURATION.format(load_module=load_module, folder=fleet.folder, servers=servers)
    )
    command = [program, "-c", str(configuration), "-p", str(fleet.folder), "-e", "stderr"]
    return await _start(fleet, "nginx_stream", command, doors)


def stream_module(build: str) -> Path | None:
    """Return where the stream module must lie, by what `nginx -V` printed; None: it is built in.

    Raises:
        BenchmarkError: this nginx was built without it.
    """
    if re.search(r"--with-stream(?=\s|$)", build):
        return None
    folder = re.search(r"--modules-path=(\S+)", build)
    if "--with-stream=dynamic" not in build or folder is None:
        raise BenchmarkError("this nginx was built without its stream module; install Debian's")
    return Path(folder.group(1)) / MODULE_NAME


async def start_trio(fleet: Fleet, targets: Route) -> Route:
    """Start the plain Trio relay in front of `targets`.

    Raises:
        BenchmarkError: it did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    doors = pick_doors(targets)
    pairs = _per_door("{door}={target}\n", doors, targets).split()
    command = [sys.executable, str(TRIO_RELAY), *pairs]
    return await _start(fleet, "trio", command, doors, is_ready=lambda line: line == "ready")


def _per_door(form: str, doors: Route, targets: Route) -> str:
    """Return what a configuration says of each door and the target behind it."""
    ends = targets.doors
    return "".join(
        form.format(name=name, door=door, target=ends[name], protocol=HTTP2_DOORS.get(name, ""))
        for name, door in doors.doors.items()
    )


async def _start(
    fleet: Fleet,
    name: str,
    command: Sequence[str],
    doors: Route,
    is_ready: Callable[[str], bool] | None = None,
) -> Route:
    child = await fleet.start(name, command, is_ready=is_ready)
    try:
        await wait_body(doors.web, BODY, timeout_seconds=5)
    except BenchmarkError:
        child.check_alive()
        raise
    return doors
