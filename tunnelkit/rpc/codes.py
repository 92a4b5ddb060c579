"""What can go wrong with a call: codes on the wire, and the exceptions they become (no I/O)."""

from __future__ import annotations

from enum import IntEnum

from tunnelkit.errors import TunnelError

__all__ = ["PeerGone", "RpcCode", "RpcError", "name_of_code"]


class RpcCode(IntEnum):
    """Error codes: those of JSON-RPC 2.0 §5.1, and ours in the range it leaves to servers."""

    PARSE_ERROR = -32700
    """The message is no JSON."""
    INVALID_REQUEST = -32600
    """It is JSON, and no message; or its id is in use."""
    METHOD_NOT_FOUND = -32601
    """There is no such method here; the text names those that are there."""
    INVALID_PARAMS = -32602
    """The arguments do not fit; the text has the path to what is wrong."""
    INTERNAL_ERROR = -32603
    """A fault of the program that serves the method; its log says more."""
    REFUSED = -32000
    """The method says no; the message says why."""
    BUSY = -32001
    """More is under way than the peer allows: try again later."""
    STALE_EPOCH = -32002
    """The caller's picture of the state is older than the state; nothing was done."""
    WRONG_STATE = -32003
    """The method cannot be called in this state; nothing was done."""
    DEADLINE_EXCEEDED = -32004
    """The time that the caller gave is over."""
    CANCELLED = -32005
    """The caller gave up, or the handler's scope was cancelled."""
    UNAUTHENTICATED = -32006
    """The caller has to prove first who it is."""
    FORBIDDEN = -32007
    """The caller may not do this."""
    NOT_FOUND = -32008
    """What the arguments name does not exist."""
    CONFLICT = -32009
    """It exists already, or was changed by somebody else meanwhile."""
    NOT_SERVED = -32010
    """The method is part of the contract, and nobody serves it yet."""
    TOO_LARGE = -32011
    """A message or a result is larger than the peer takes."""
    RATE_LIMITED = -32012
    """The caller calls too often: try again later."""


def name_of_code(code: int) -> str:
    """Return the name of *code* in capitals, or ``CODE_N`` for one that is not ours."""
    try:
        return RpcCode(code).name
    except ValueError:
        return f"CODE_{code}".replace("-", "MINUS_")


class RpcError(TunnelError):
    """A call that ended with an error; handlers raise it to answer with one.

    Args:
        code: what kind of error; an application may use numbers of its own outside of
            -32768 to -32000, which JSON-RPC reserves.
        text: for people; it travels to the peer, so that it must hold no secret.
        data: what else a program needs to know, as plain values for JSON.
    """

    def __init__(self, code: int, text: str, data: dict[str, object] | None = None) -> None:
        super().__init__(f"{text} [{name_of_code(code)}]")
        self.code = code
        self.text = text
        self.data = data or {}


class PeerGone(TunnelError):
    """The peer is gone, or the connection to it is: the call may or may not have been carried out.

    Every call that waits when that happens ends with this error, and so does every later one.
    """
