"""What a gateway can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tunnelkit.addresses import Address

__all__ = [
    "ENVIRONMENT_KEY",
    "IDLE_SECONDS",
    "LOGIN_COOKIE",
    "REQUEST_SECONDS",
    "GatewaySettings",
]

IDLE_SECONDS: Final = 75.0
"""How long a connection of a client may wait for its next request, seconds.  Stops: connections
that are held and not used."""

REQUEST_SECONDS: Final = 3600.0
"""How long a request and its answer may take together, seconds: uploads and downloads of a slow
line, and events that are streamed, need their time.  Stops: requests that never end."""


LOGIN_COOKIE: Final = "tunnelkit_session"
ENVIRONMENT_KEY: Final = "env"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What a gateway does, beside what its directory says."""

    domain: str = ""
    """Below which the preview hosts are, as in ``preview.example.com``; "": there are none."""
    api: Address | None = None
    """The control plane, for what no site takes; None: that is answered with 404."""
    tunnel: Address | None = None
    """Where links come in by WebSocket, such as a broker's listener; None: nowhere."""
    tunnel_path: str = "/tunnel"
    login_url: str = ""
    """Where people log in, which gets the address that they wanted as ``next``; "": nowhere, and
    they are told 401."""
    login_cookie: str = LOGIN_COOKIE
    """The name of the cookie by which people are known; no site ever sees it."""
    environment_key: str = ENVIRONMENT_KEY
    """The member of `tracestate` and `baggage` that names an environment."""
    max_body_bytes: int | None = None
    """The longest body of a request, bytes; None: any."""
    idle_seconds: float | None = IDLE_SECONDS
    request_seconds: float | None = REQUEST_SECONDS
