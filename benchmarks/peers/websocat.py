"""websocat as a peer: one WebSocket for each connection, and nothing multiplexed.

How it works
------------
The entry accepts a client and opens a WebSocket to the exit, which dials the target.  A process
knows one target only, so that each door has its own pair.

What is set in its favour: binary messages, no TLS, no compression, and the client side in two
parts (`ws-c:tcp:`): for a plain `ws://` address it reads the certificates of the system at every
connection all the same, which takes 4 ms of the processor, a tenth of the new connections is left,
and 1,024 connections stall.  Messages stay at its default of 64 KiB: larger ones cost more for
each byte.

What cannot be set: the masking of what its client side sends (RFC 6455 asks for it), and one
handshake for each connection.  It runs in one thread.
"""

from __future__ import annotations

from typing import Final

from benchmarks.load import Address
from benchmarks.peers import FROM_EXTRA, HOST, Route, require_program
from benchmarks.peers.two_hops import pick_two_hops, start_two_hops
from benchmarks.processes import Fleet, pick_ports

__all__ = ["entry_command", "exit_command", "start_websocat"]

# A connection that ends in one direction ends in the other too: it cannot be half-closed.
FLAGS: Final = ("--binary", "--exit-on-eof")


async def start_websocat(fleet: Fleet, targets: Route) -> Route:
    """Start two processes of websocat for each of `targets`.

    Raises:
        BenchmarkError: it is not installed, or did not start.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    program = require_program("websocat", FROM_EXTRA)
    hops = pick_two_hops(targets)
    links = (Address(HOST, port) for port in pick_ports(len(hops.doors)))
    commands = {}
    for (door, listen), link in zip(hops.doors.items(), links, strict=True):
        commands[f"{door}-exit"] = [program, *exit_command(link, hops.targets[door])]
        commands[f"{door}-entry"] = [program, *entry_command(listen, link)]
    return await start_two_hops(fleet, "websocat", commands, hops)


def entry_command(listen: Address, link: Address) -> list[str]:
    """Return the arguments of the side that accepts clients."""
    return [*FLAGS, f"tcp-listen:{listen}", f"ws-c:tcp:{link}"]


def exit_command(link: Address, target: Address) -> list[str]:
    """Return the arguments of the side that dials the target."""
    return [*FLAGS, f"ws-listen:{link}", f"tcp:{target}"]
