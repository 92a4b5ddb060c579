"""Exits and doors as plain data, for status (no I/O)."""

from __future__ import annotations

from . import Outgoing
from .door import Door
from .exit import Exit
from .specs import place_of

__all__ = ["door_status", "exit_status", "outgoing_status"]


def outgoing_status(outgoing: Outgoing) -> dict[str, object]:
    """Describe what an endpoint opens for its peers, and its listeners that lead to them."""
    return {
        "exits": exit_status(outgoing.exit),
        "forwards": [door_status(door) for door in outgoing.doors],
    }


def exit_status(exit: Exit) -> dict[str, object]:
    """Describe an exit: what it allows, what is open, what it served and refused."""
    return {
        "names": {name: place_of(address) for name, address in exit.targets.items()},
        "allow": [str(rule) for rule in exit.allow.rules],
        "open": exit.open_count,
        "served": exit.served_count,
        "refused": exit.refused_count,
        "last_refusal": exit.last_refusal,
    }


def door_status(door: Door) -> dict[str, object]:
    """Describe a door: where it is and leads, what is open, and why a client was not served."""
    return {
        "name": door.name,
        "kind": door.kind,
        "listen": place_of(door.listener.address) if door.listener is not None else "",
        "target": door.target,
        "peer": door.peer,
        "open": door.open_count,
        "waiting": door.waiting_count,
        "counts": dict(door.counts),
        "bytes_in": door.bytes_in,
        "bytes_out": door.bytes_out,
        "last_reason": door.last_reason,
    }
