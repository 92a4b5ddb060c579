"""What a WebSocket handshake says beside the path (no I/O): headers, tokens, the subprotocol."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final

from tunnelkit.errors import ConfigurationError

__all__ = ["SUBPROTOCOL", "WebSocketOptions", "plain"]

SUBPROTOCOL: Final = "tunnelkit.v1"
"""What both sides must name in the handshake."""

_OWN_HEADERS: Final = ("host", "upgrade", "connection", "content-length", "transfer-encoding")
_OWN_PREFIX: Final = "sec-websocket-"


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """What a WebSocket handshake carries beside the path: sent by clients, asked for by servers.

    Args:
        headers: further headers of the client's request, such as a gateway on the way may want.
        bearer_token: sent by a client in `Authorization`.
        accept_tokens: a server lets in only who sends one of them; none: everybody.

    Raises:
        ConfigurationError: a header is none that HTTP allows, or one that is not for the user.
    """

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    bearer_token: str | None = field(default=None, repr=False)
    accept_tokens: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if "" in (self.bearer_token, *self.accept_tokens):
            raise ConfigurationError("a bearer token for WebSockets is empty: give it a value")
        names = [name.lower() for name, _ in self.headers]
        for name in names:
            if name in _OWN_HEADERS or name.startswith(_OWN_PREFIX):
                raise ConfigurationError(
                    f"the WebSocket header {name} is set by the handshake itself: leave it out"
                )
        if self.bearer_token is not None and "authorization" in names:
            raise ConfigurationError(
                "there is a bearer token, and an Authorization header too: leave out one of them"
            )
        if self.headers or self.bearer_token is not None or self.accept_tokens:
            self._check_characters()

    def _check_characters(self) -> None:
        import h11  # only where it is needed: see `upgrade`

        tokens = [("X-Accept", token) for token in self.accept_tokens]
        try:
            fields = [*self.fields(), *_encoded(tuple(tokens))]
            h11.Request(method="GET", target="/", headers=[(b"Host", b"x"), *fields])
        except (h11.LocalProtocolError, UnicodeError):
            text = "a WebSocket header or bearer token has characters that HTTP does not allow"
            raise ConfigurationError(f"{text}; use printable ASCII without line ends") from None

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that a client sends, the token's included."""
        found = _encoded(self.headers)
        if self.bearer_token is not None:
            found.append((b"Authorization", b"Bearer " + self.bearer_token.encode("ascii")))
        return found

    def lets_in(self, authorization: bytes) -> bool:
        """Say whether a server accepts a client that sends this `Authorization`."""
        if not self.accept_tokens:
            return True
        scheme, _, given = authorization.partition(b" ")
        # All are compared, so that the time does not tell which one it was.
        found = [hmac.compare_digest(given.strip(), t.encode()) for t in self.accept_tokens]
        return scheme.lower() == b"bearer" and any(found)


def _encoded(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]


def plain(error: Exception) -> str:
    """Return what is wrong with a handshake, without any of the peer's bytes."""
    text = str(error)
    if isinstance(error, UnicodeError):
        return "a header is not ASCII"
    for known in ("unrecognized extension", "unrecognized subprotocol"):
        if text.startswith(known):
            return f"it chose what nobody offered ({known})"
    return text
