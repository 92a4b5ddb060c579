"""What a program tells about itself: its links and sessions as plain data.

Pure functions from the objects to what goes out as JSON; numbers are in the unit of their name.
Nothing here tells a secret: no token, no key, and of a session id only the beginning.
"""

from __future__ import annotations

import os
from typing import Any

from tunnelkit._version import __version__
from tunnelkit.admin import Feed, Method
from tunnelkit.endpoint import Endpoint
from tunnelkit.errors import code_name
from tunnelkit.host import LinkHost
from tunnelkit.link import Link
from tunnelkit.session import Session

__all__ = ["endpoint_status", "link_status", "program_methods", "session_status"]


def link_status(link: Link) -> dict[str, object]:
    """Describe a link."""
    peer, trip = link.peer, link.round_trip_seconds
    return {
        "address": link.pipe.description,
        "peer": peer.subject if peer is not None else "",
        "is_broker": peer is not None and peer.is_broker,
        "agent": peer.agent if peer is not None else "",
        "dialled": link.is_dialer,
        "state": link.state.value,
        "health": link.health.value,
        "round_trip_ms": round(trip * 1000, 3) if trip is not None else None,
        "bytes_in": link.bytes_in,
        "bytes_out": link.bytes_out,
        "since": link.since,
    }


def session_status(session: Session) -> dict[str, object]:
    """Describe a session."""
    core, link = session.core, session.link
    return {
        "id": session.session_id.hex()[:8],
        "peer": session.peer,
        "role": session.role.name.lower(),
        "state": session.state,
        "is_suspect": session.is_suspect,
        "link": link.pipe.description if link is not None else "",
        "streams": len(core.streams),
        "bytes_in": core.bytes_in,
        "bytes_out": core.bytes_out,
        "unacknowledged_bytes": core.unacknowledged,
        "replayed_bytes": core.replayed_bytes,
        "duplicate_frames": core.duplicate_frames,
        "resumed_count": session.resumed_count,
        "last_reason": session.last_reason,
        "last_reset": reset_text(session),
    }


def reset_text(session: Session) -> str:
    """Say why the last stream of *session* that was reset was, and which side did it."""
    if session.core.last_reset is None:
        return ""
    code, text, by_peer = session.core.last_reset
    side = session.peer if by_peer else "this side"
    return f"{text or 'no reason given'} [{code_name(code)}] by {side}"


def endpoint_status(endpoint: Endpoint) -> dict[str, object]:
    """Describe an endpoint: who it is, whom it reaches, its links and sessions."""
    return {
        "subject": endpoint.subject,
        "token_expires": endpoint.identity.claims.expires_at,
        "peers": sorted(endpoint.peers()),
        "links": [link_status(link) for link in endpoint.links],
        "failing": {str(address): text for address, text in endpoint.dial_errors.items()},
        "sessions": [session_status(session) for session in endpoint.sessions.values()],
    }


def program_methods(program: str, host: LinkHost[Any]) -> dict[str, Method]:
    """Return the methods that every program has; *host* is its endpoint or broker."""

    async def version() -> dict[str, object]:
        return {"program": program, "version": __version__, "pid": os.getpid()}

    async def watch() -> Feed:
        return Feed(host.watch)

    return {"version": version, "watch": watch}
