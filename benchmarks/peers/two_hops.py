"""What peers of two ready-made programs share: an entry, an exit, and a link between them.

The entry accepts the clients of every door; the exit dials the target behind it.  Which doors
there are is up to the targets, so that a peer here names none of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Address, wait_body
from benchmarks.peers import BODY, HOST, Route, route_of
from benchmarks.processes import BenchmarkError, Fleet, pick_ports

__all__ = ["TwoHops", "pick_two_hops", "start_two_hops", "write_settings"]


@dataclass(frozen=True, slots=True)
class TwoHops:
    """Where the two programs of a peer listen, and where they lead."""

    link: Address
    """Where one of them waits for the other."""

    doors: Mapping[str, Address]
    """By name, where the entry listens for clients."""

    targets: Mapping[str, Address]
    """By the same names, what the exit dials."""

    @property
    def route(self) -> Route:
        """The doors as the runner wants them."""
        return route_of(self.doors)


def pick_two_hops(targets: Route) -> TwoHops:
    """Pick a port for the link, and one in front of every target.

    Raises:
        BenchmarkError: no ports are free.
    """
    behind = targets.doors
    link, *listeners = (Address(HOST, port) for port in pick_ports(1 + len(behind)))
    return TwoHops(link, dict(zip(behind, listeners, strict=True)), behind)


def write_settings(path: Path, settings: object) -> Path:
    """Write a program's settings as JSON, and return where they lie."""
    path.write_text(json.dumps(settings, indent=1))
    return path


async def start_two_hops(
    fleet: Fleet, name: str, commands: Mapping[str, Sequence[str]], hops: TwoHops
) -> Route:
    """Start the programs of a peer in the order of *commands*, and wait until traffic arrives.

    Args:
        commands: by role, which names the log of the program.

    Raises:
        BenchmarkError: one of them did not start, or the way leads nowhere.

    Cancellation: keeps. What was started belongs to the fleet.
    """
    children = [await fleet.start(f"{name}-{role}", line) for role, line in commands.items()]
    try:
        await wait_body(hops.doors["web"], BODY)
    except BenchmarkError:
        for child in children:
            child.check_alive()
        raise
    return hops.route
