"""What can go wrong, whose fault it is, and what is still usable.

The tree::

    TunnelError
    ├── ConfigurationError      the settings are wrong: fix them and start again
    ├── LocalProtocolError      this program misused an object: fix the call
    ├── RemoteProtocolError     the peer broke the protocol: its link or session has ended
    ├── AuthenticationError     a token, key or signature was not accepted
    ├── LinkError               a link could not be made, or has ended: dial again
    │   ├── LinkRefused         the peer answered the hello with a refusal (code, text)
    │   └── LinkLost            the carrier broke or went silent
    ├── SessionError            a session ended: open a new one
    └── OpenRefused             the far side would not open this stream (code, text)

`RemoteProtocolError` is the only exception that decoding hostile bytes may raise.  Errors of
a single stream are ordinary Trio errors (`trio.BrokenResourceError` and its subclass
`tunnelkit.StreamReset`), because a stream is an ordinary Trio stream.

Every error that a peer can read carries an `ErrorCode`.  Codes 0–63 are the protocol's own
(docs/wire-protocol.md §11), 64–255 are free for applications.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = [
    "NOT_ALLOWED",
    "AuthenticationError",
    "ConfigurationError",
    "ErrorCode",
    "LinkError",
    "LinkLost",
    "LinkRefused",
    "LocalProtocolError",
    "OpenRefused",
    "RemoteProtocolError",
    "SessionError",
    "TunnelError",
    "code_name",
]


class ErrorCode(IntEnum):
    """Why something ended or was refused, on the wire (docs/wire-protocol.md §11)."""

    NONE = 0
    PROTOCOL_ERROR = 1
    UNSUPPORTED_VERSION = 2
    UNAUTHENTICATED = 3
    TOKEN_EXPIRED = 4
    WRONG_HOLDER = 5
    FORBIDDEN = 6
    UNKNOWN_PEER = 7
    UNKNOWN_TARGET = 8
    TARGET_REFUSED = 9
    TARGET_UNREACHABLE = 10
    LIMIT_EXCEEDED = 11
    STATE_LOST = 12
    DISPLACED = 13
    SUPERSEDED = 14
    GOING_AWAY = 15
    CANCELLED = 16
    CONNECTION_RESET = 17
    GRACE_EXPIRED = 18
    NOT_READING = 19
    OPEN_TIMEOUT = 20
    INTERNAL_ERROR = 21
    PEER_GONE = 22
    OVERRUN = 23
    STALE_GENERATION = 24
    BAD_PROOF = 25
    SESSION_CLOSED = 26
    TOKEN_REVOKED = 27


NOT_ALLOWED: Final = frozenset(
    {
        ErrorCode.UNAUTHENTICATED,
        ErrorCode.TOKEN_EXPIRED,
        ErrorCode.TOKEN_REVOKED,
        ErrorCode.WRONG_HOLDER,
        ErrorCode.FORBIDDEN,
        ErrorCode.UNKNOWN_TARGET,
        ErrorCode.BAD_PROOF,
    }
)
"""Refusals that stay until somebody changes a setting or a token; others may pass."""


def code_name(code: int) -> str:
    """Return the name of *code* in lower case with hyphens, or ``code-N`` where it has none."""
    try:
        return ErrorCode(code).name.lower().replace("_", "-")
    except ValueError:
        return f"code-{code}"


class TunnelError(Exception):
    """The base of every error that this library raises on its own account."""


class ConfigurationError(TunnelError):
    """A setting is wrong; the text names the setting, the value and what would be right."""


class LocalProtocolError(TunnelError):
    """This program used an object in a way that its state does not allow."""


class _CodedError(TunnelError):
    """An error with a code that also travels on the wire."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} [{code_name(code)}]")
        self.code = code
        self.text = text


class RemoteProtocolError(_CodedError):
    """The peer sent what the specification does not allow.

    Args:
        text: what was wrong, without any of the peer's bytes.
        code: what to tell the peer before closing.
    """

    def __init__(self, text: str, code: int = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(code, text)


class AuthenticationError(_CodedError):
    """A token, key or signature was not accepted; the text says which and why."""

    def __init__(self, text: str, code: int = ErrorCode.UNAUTHENTICATED) -> None:
        super().__init__(code, text)


class LinkError(TunnelError):
    """A link could not be made, or has ended."""

    retry_after_seconds: float = 0.0
    """How long the peer asked us to wait before we dial again; 0: it did not."""

    was_up: bool = False
    """Whether the link had come up before."""


class LinkRefused(_CodedError, LinkError):
    """The peer answered the hello with a refusal."""


class LinkLost(LinkError):
    """The carrier broke, was closed, or went silent."""


class SessionError(_CodedError):
    """A session ended, with the code that says why."""


class OpenRefused(_CodedError):
    """The far side refused to open a stream; `code` and `text` come from there."""
