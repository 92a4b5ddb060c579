"""HAProxy's reverse HTTP as a peer: the exit dials the entry, and requests go the other way.

How it works
------------
Two processes.  The exit opens one HTTP/2 connection to the entry and serves it as if it had been
accepted; the entry sends the requests of all clients through it.  It carries HTTP requests and
nothing else, so that it has no door for bytes, and a new connection of a client is one more
request in the tunnel.

What is set in its favour: all streams in one connection, windows of 16 MiB, connections to the
target reused (`http-reuse always`, and a pool that keeps all of them), no log.  TCP_NODELAY is its
default.  One thread each: more would not share the one connection.

What cannot be set: it parses and rewrites every request and answer.

It needs HAProxy 3.0, which Debian 12 does not have: `.ci/haproxy3` unpacks one under `.bench/`.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import trio

from benchmarks.peers import FROM_DEBIAN, Route, find_program
from benchmarks.peers.two_hops import TwoHops, pick_two_hops, start_two_hops
from benchmarks.processes import BenchmarkError, Fleet

__all__ = [
    "OLDEST",
    "VARIABLE",
    "candidates",
    "entry_configuration",
    "exit_configuration",
    "find_haproxy3",
    "parse_version",
    "start_haproxy_rhttp",
]

OLDEST: Final = (3, 0)
"""The first version whose reverse HTTP is complete."""

VARIABLE: Final = "HAPROXY3"
"""The environment variable that may name the program."""

UNPACKED: Final = Path(__file__).resolve().parents[2] / ".bench" / "haproxy3" / "haproxy"
"""Where `make system-deps` puts one that the machine's own packages know nothing of."""

COMMON: Final = """
global
    nbthread 1
    maxconn 8192
    expose-experimental-directives
    tune.h2.be.max-concurrent-streams 4096
    tune.h2.fe.max-concurrent-streams 4096
    tune.h2.be.initial-window-size 16777216
    tune.h2.fe.initial-window-size 16777216
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 1h
    timeout server 1h
"""

ENTRY: Final = """
frontend web
    bind {web}
    default_backend tunnel
frontend link
    bind {link} proto h2
    tcp-request session attach-srv tunnel/exit
backend tunnel
    server exit rhttp@
"""

EXIT: Final = """
backend entry
    server entry {link} proto h2
frontend tunnel
    bind rhttp@entry/entry nbconn 1
    default_backend target
backend target
    server target {target} pool-max-conn -1
"""


async def start_haproxy_rhttp(fleet: Fleet, targets: Route) -> Route:
    """Start two HAProxies in front of the web target. There is no other door.

    Raises:
        BenchmarkError: there is no HAProxy 3.0, or it did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    program = await find_haproxy3()
    if program is None:
        oldest = ".".join(map(str, OLDEST))
        raise BenchmarkError(
            f"haproxy {oldest} or newer is not installed; {FROM_DEBIAN} on Debian 12 and later,"
            f" or let {VARIABLE} name one"
        )
    hops = pick_two_hops(targets)
    hops = TwoHops(hops.link, {"web": hops.doors["web"]}, {"web": hops.targets["web"]})
    commands = {}
    for role, text in (("entry", entry_configuration(hops)), ("exit", exit_configuration(hops))):
        path = fleet.folder / f"haproxy_rhttp-{role}.cfg"
        path.write_text(text)
        commands[role] = [program, "-q", "-db", "-f", str(path)]
    return await start_two_hops(fleet, "haproxy_rhttp", commands, hops)


def entry_configuration(hops: TwoHops) -> str:
    """Return the configuration of the side that accepts clients."""
    return COMMON + ENTRY.format(web=hops.doors["web"], link=hops.link)


def exit_configuration(hops: TwoHops) -> str:
    """Return the configuration of the side that dials the entry and the target."""
    return COMMON + EXIT.format(link=hops.link, target=hops.targets["web"])


async def find_haproxy3() -> str | None:
    """Return the path of the first candidate that is new enough, or None.

    Cancellation: atomic.
    """
    for program in candidates(os.environ.get(VARIABLE), find_program("haproxy"), UNPACKED):
        try:
            done = await trio.run_process(
                [program, "-v"], check=False, capture_stdout=True, stderr=subprocess.STDOUT
            )
        except OSError:
            continue
        if parse_version(done.stdout.decode(errors="replace")) >= OLDEST:
            return program
    return None


def candidates(named: str | None, installed: str | None, unpacked: Path) -> Iterable[str]:
    """Return where to look: what the user named, and only without it elsewhere."""
    if named:
        return [named]
    return [program for program in (installed, str(unpacked)) if program]


def parse_version(text: str) -> tuple[int, int]:
    """Return the version in what `haproxy -v` printed; (0, 0) if there is none."""
    found = re.search(r"version (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
