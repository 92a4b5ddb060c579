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

__all__ = [
    "endpoint_methods",
    "endpoint_status",
    "link_status",
    "program_methods",
    "session_status",
    "trust_status",
]


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
        "moved_count": session.moved_count,
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
        "failing": {
            str(address): text
            for address, text in {**endpoint.direct.failing, **endpoint.dial_errors}.items()
        },
        "sessions": [session_status(session) for session in endpoint.sessions.values()],
    }


def program_methods(program: str, host: LinkHost[Any]) -> dict[str, Method]:
    """Return the methods that every program has; *host* is its endpoint or broker."""

    async def version() -> dict[str, object]:
        return {"program": program, "version": __version__, "pid": os.getpid()}

    async def watch() -> Feed:
        return Feed(host.watch)

    async def trust() -> dict[str, object]:
        return trust_status(host)

    async def set_revocations(signed: str) -> dict[str, object]:
        is_new = host.learn_revocations(signed.strip())
        return {"accepted": is_new, **trust_status(host)}

    return {
        "version": version,
        "watch": watch,
        "trust": trust,
        "set-revocations": set_revocations,
    }


def endpoint_methods(program: str, endpoint: Endpoint) -> dict[str, Method]:
    """Return the methods of every program that has an endpoint."""

    async def move(peer: str, address: str) -> list[dict[str, object]]:
        await endpoint.move(peer, address)
        return [session_status(s) for s in endpoint.sessions.values() if s.peer == peer]

    return {**program_methods(program, endpoint), "move": move}


def trust_status(host: LinkHost[Any]) -> dict[str, object]:
    """Describe whom an endpoint or a broker believes: its ring, and what was revoked."""
    now, found = host.clock(), host.trust.revocations
    keys = [
        {
            "key_id": key.key_id,
            "not_before": key.not_before or None,
            "expires_at": key.expires_at or None,
            "is_believed": key.is_believed(now),
        }
        for key in host.ring.keys
    ]
    if found is None:
        return {"issuers": keys, "revocations": None}
    revocations = {
        "serial": found.serial,
        "issued_at": found.issued_at,
        "expires_at": found.expires_at,
        "is_stale": found.is_stale(now),
        "issuer_key_id": found.issuer_key_id,
        **{kind: len(entries) for kind, entries in found.revoked.by_kind().items()},
    }
    return {"issuers": keys, "revocations": revocations}
