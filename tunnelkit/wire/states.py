"""The protocol's state tables, and nothing else (no I/O).

Each table maps (state, input) to the next state.  What is not in a table is an error: for an
input from the peer a protocol error, for a local input a misuse.  The specification prints the
same tables (docs/wire-protocol.md §6, §7 and §8); a test holds the two together.

Inputs from the peer are written `<name>`, local ones `name`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from .frames import FrameType

__all__ = [
    "ATTACHMENT",
    "INCOMING",
    "LINK_ACCEPTOR",
    "LINK_DIALER",
    "OUTGOING",
    "PHASE",
    "Attachment",
    "Half",
    "Input",
    "LinkState",
    "Phase",
]


class _Key(Enum):
    """Members are keys of tables; they are compared by identity, and so may be their hashes.

    `Enum` hashes names instead, by a Python function: twice for each look-up below.
    """

    __hash__ = object.__hash__


class LinkState(Enum):
    """Where a link is in its life, for either side."""

    HELLO_WAIT = "hello-wait"
    CHALLENGE_WAIT = "challenge-wait"
    PROOF_WAIT = "proof-wait"
    OK_WAIT = "ok-wait"
    UP = "up"
    LEAVING = "leaving"
    CLOSED = "closed"


_UP_FRAMES: Final = (
    FrameType.PING,
    FrameType.PONG,
    FrameType.ATTACH,
    FrameType.INVITE,
    FrameType.ATTACHED,
    FrameType.DETACHED,
    FrameType.PRESENCE,
    FrameType.LIMIT,
    FrameType.REVOCATIONS,
    FrameType.RENEW,
    FrameType.SESSION_OPEN,
    FrameType.OPEN,
    FrameType.OPENED,
    FrameType.REFUSED,
    FrameType.DATA,
    FrameType.END,
    FrameType.STOP,
    FrameType.RESET,
    FrameType.SESSION_CLOSE,
    FrameType.SESSION_RENEW,
    FrameType.ADDRESSES,
    FrameType.ACK,
    FrameType.WINDOW,
)

_ESTABLISHED: Final[Mapping[tuple[LinkState, FrameType], LinkState]] = {
    **{(LinkState.UP, frame): LinkState.UP for frame in _UP_FRAMES},
    **{(LinkState.LEAVING, frame): LinkState.LEAVING for frame in _UP_FRAMES},
    (LinkState.UP, FrameType.GO_AWAY): LinkState.LEAVING,
    (LinkState.LEAVING, FrameType.GO_AWAY): LinkState.LEAVING,
}

LINK_DIALER: Final[Mapping[tuple[LinkState, FrameType], LinkState]] = {
    (LinkState.CHALLENGE_WAIT, FrameType.CHALLENGE): LinkState.OK_WAIT,
    (LinkState.CHALLENGE_WAIT, FrameType.REFUSE): LinkState.CLOSED,
    (LinkState.OK_WAIT, FrameType.HELLO_OK): LinkState.UP,
    (LinkState.OK_WAIT, FrameType.REFUSE): LinkState.CLOSED,
    **_ESTABLISHED,
}
"""Frames that the dialling side accepts from its peer."""

LINK_ACCEPTOR: Final[Mapping[tuple[LinkState, FrameType], LinkState]] = {
    (LinkState.HELLO_WAIT, FrameType.HELLO): LinkState.PROOF_WAIT,
    (LinkState.PROOF_WAIT, FrameType.PROOF): LinkState.UP,
    **_ESTABLISHED,
}
"""Frames that the accepting side accepts from its peer."""


class Attachment(_Key):
    """Whether a session is joined to its peer at this moment."""

    DETACHED = "detached"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    ENDED = "ended"


class Input(_Key):
    """What can happen to a session or a stream."""

    # session
    ATTACH = "attach"
    GOT_ATTACHED = "<attached>"
    GOT_DETACHED = "<detached>"
    LINK_LOST = "link-lost"
    MOVE = "move"
    FINISH = "finish"
    # stream
    SEND_OPENED = "opened"
    SEND_REFUSED = "refused"
    GOT_OPENED = "<opened>"
    GOT_REFUSED = "<refused>"
    SEND_DATA = "data"
    SEND_END = "end"
    SEND_RESET = "reset"
    SEND_STOP = "stop"
    GOT_DATA = "<data>"
    GOT_END = "<end>"
    GOT_RESET = "<reset>"
    GOT_STOP = "<stop>"


ATTACHMENT: Final[Mapping[tuple[Attachment, Input], Attachment]] = {
    (Attachment.DETACHED, Input.ATTACH): Attachment.ATTACHING,
    (Attachment.DETACHED, Input.FINISH): Attachment.ENDED,
    (Attachment.ATTACHING, Input.ATTACH): Attachment.ATTACHING,
    (Attachment.ATTACHING, Input.GOT_ATTACHED): Attachment.ATTACHED,
    (Attachment.ATTACHING, Input.GOT_DETACHED): Attachment.DETACHED,
    (Attachment.ATTACHING, Input.LINK_LOST): Attachment.DETACHED,
    (Attachment.ATTACHING, Input.FINISH): Attachment.ENDED,
    (Attachment.ATTACHED, Input.ATTACH): Attachment.ATTACHING,
    (Attachment.ATTACHED, Input.MOVE): Attachment.ATTACHED,
    (Attachment.ATTACHED, Input.GOT_DETACHED): Attachment.DETACHED,
    (Attachment.ATTACHED, Input.LINK_LOST): Attachment.DETACHED,
    (Attachment.ATTACHED, Input.FINISH): Attachment.ENDED,
}


class Phase(_Key):
    """How far the opening of a stream has come."""

    OPENING = "opening"
    OFFERED = "offered"
    OPEN = "open"
    REFUSED = "refused"


PHASE: Final[Mapping[tuple[Phase, Input], Phase]] = {
    (Phase.OPENING, Input.GOT_OPENED): Phase.OPEN,
    (Phase.OPENING, Input.GOT_REFUSED): Phase.REFUSED,
    (Phase.OFFERED, Input.SEND_OPENED): Phase.OPEN,
    (Phase.OFFERED, Input.SEND_REFUSED): Phase.REFUSED,
}


class Half(_Key):
    """One direction of a stream.  `STOPPED`: the reader has left, the writer has not yet."""

    OPEN = "open"
    STOPPED = "stopped"
    ENDED = "ended"
    RESET = "reset"


OUTGOING: Final[Mapping[tuple[Half, Input], Half]] = {
    (Half.OPEN, Input.SEND_DATA): Half.OPEN,
    (Half.OPEN, Input.SEND_END): Half.ENDED,
    (Half.OPEN, Input.SEND_RESET): Half.RESET,
    (Half.OPEN, Input.GOT_STOP): Half.STOPPED,
    (Half.STOPPED, Input.SEND_RESET): Half.RESET,
    (Half.STOPPED, Input.GOT_STOP): Half.STOPPED,
    (Half.ENDED, Input.GOT_STOP): Half.ENDED,
    (Half.RESET, Input.GOT_STOP): Half.RESET,
}
"""The direction in which this side writes."""

INCOMING: Final[Mapping[tuple[Half, Input], Half]] = {
    (Half.OPEN, Input.GOT_DATA): Half.OPEN,
    (Half.OPEN, Input.GOT_END): Half.ENDED,
    (Half.OPEN, Input.GOT_RESET): Half.RESET,
    (Half.OPEN, Input.SEND_STOP): Half.STOPPED,
    (Half.STOPPED, Input.GOT_DATA): Half.STOPPED,
    (Half.STOPPED, Input.GOT_END): Half.ENDED,
    (Half.STOPPED, Input.GOT_RESET): Half.RESET,
}
"""The direction in which the peer writes."""
