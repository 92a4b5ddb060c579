"""Which way a new connection goes, and why (no I/O).

The decision is a plain function of facts, so that it can be explained and tested without a socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Facts", "Intercept", "Verdict", "Way", "decide"]


@dataclass(frozen=True, slots=True)
class Intercept:
    """Connections of a port go to a developer's session."""

    peer: str
    """The subject of the developer's endpoint."""
    target: str
    """The name that the peer serves."""
    fail_open: bool = True
    """Whether connections go to the local target while the peer cannot be reached."""


class Way(Enum):
    """Where a new connection goes first."""

    LOCAL = "local"
    PEER = "peer"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when a connection arrives."""

    intercept: Intercept | None
    session_is_open: bool = False
    session_is_suspect: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The way, and the reason in words."""

    way: Way
    why: str


def decide(facts: Facts) -> Verdict:
    """Return where a new connection goes."""
    intercept = facts.intercept
    if intercept is None:
        return Verdict(Way.LOCAL, "no intercept is on for this port")
    if facts.session_is_open and not facts.session_is_suspect:
        return Verdict(Way.PEER, f"intercepted by {intercept.peer}")
    state = "does not answer" if facts.session_is_open else "is not connected"
    if intercept.fail_open:
        return Verdict(Way.LOCAL, f"{intercept.peer} {state}: fail open")
    if facts.session_is_open:
        return Verdict(Way.PEER, f"{intercept.peer} {state}: fail closed, the connection waits")
    return Verdict(Way.REFUSE, f"{intercept.peer} {state}: fail closed")
