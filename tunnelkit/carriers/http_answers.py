"""Short HTTP answers for whoever asks at a port that is not meant for it (no I/O).

People look at a port with curl or a browser, and health checks ask whatever port they are given.
A sentence helps them more than a connection that is closed.  The `Upgrade` header says what the
port does speak (RFC 9110 §7.8), for programs: our own clients make their error of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["PLAIN_TO_TLS", "TO_A_LINK", "answer", "looks_like_http"]

_METHODS: Final = (
    *(b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"CONNECT ", b"OPTIONS ", b"TRACE "),
    *(b"PATCH ", b"PRI "),
)
_REASONS: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    408: "Request Timeout",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
}


def looks_like_http(start: bytes) -> bool:
    """Say whether *start*, the first eight bytes or more, begins an HTTP request."""
    return start.startswith(_METHODS)


def answer(status: int, text: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return a whole response, with *text* as its body, after which the connection ends."""
    body = f"{text}\n".encode()
    found = list(headers)
    lines = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: " + ("Upgrade, close" if dict(found).get("Upgrade") else "close"),
        *(f"{name}: {value}" for name, value in found),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


PLAIN_TO_TLS: Final = answer(
    400,
    "This port speaks TLS, and the request came without it.\n"
    "Ask with https://, or connect with tunnelkit to tls:// or wss://.",
    [("Upgrade", "TLS/1.3")],
)
"""For plain HTTP at a port that speaks TLS."""

TO_A_LINK: Final = answer(
    426,
    "This is the port of a tunnel: it speaks a protocol of its own, and has no pages to show.\n"
    "Connect with tunnelkit (tcp://, or tls:// if this answer came with TLS).",
    [("Upgrade", "tunnelkit/1")],
)
"""For HTTP at a port that links are made to without WebSocket."""
