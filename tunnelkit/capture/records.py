"""What is known of an exchange: the typed record that a capture collects (no I/O)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunnelkit.http.head import Fields, RequestHead, ResponseHead

__all__ = ["NO_BODY", "Body", "Exchange", "Times"]


@dataclass(frozen=True, slots=True)
class Body:
    """A body, as far as it was kept."""

    data: bytes = b""
    """What was kept: without encodings where they could be read, and without credentials."""
    size: int = 0
    """Bytes that went by, as they were sent, without what frames them."""
    cut: str = ""
    """Why not all of it was kept; "": all of it was."""
    decoded: tuple[str, ...] = ()
    """The encodings that were taken off, in the order in which they had been put on."""
    has_ended: bool = False
    """Whether all of it went by."""


NO_BODY = Body()


@dataclass(slots=True)
class Times:
    """When things happened, seconds of a steady clock; None: not (yet)."""

    begun: float
    sent: float | None = None
    request_ended: float | None = None
    answer_begun: float | None = None
    answer_ended: float | None = None
    over: float | None = None


@dataclass(slots=True)
class Exchange:
    """A request and its answer; credentials are taken out of everything in it."""

    number: int
    """Counted from 1, in the order of the requests."""
    client: str
    scheme: str
    """``http`` or ``https``."""
    port: str
    """The name of the port that it came to."""
    rule: str
    started_at: float
    """Unix seconds."""
    times: Times
    request: RequestHead
    request_head_bytes: int
    """Size of the head as it came, before anything was taken out."""
    request_body: Body = NO_BODY
    request_trailers: Fields = ()
    sent: RequestHead | None = None
    """The head that the server was sent; None: it was sent none."""
    server: str = ""
    interim: list[ResponseHead] = field(default_factory=list)
    interim_count: int = 0
    """How many there were, those included that were not kept."""
    answer: ResponseHead | None = None
    answer_head_bytes: int = 0
    answer_body: Body = NO_BODY
    answer_trailers: Fields = ()
    is_over: bool = False
    why: str = ""
    """What was missing when it was over; "": nothing was."""
