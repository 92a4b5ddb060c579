"""What a proxy of HTTP asks of whoever has it: where requests go, and how to get there (no I/O)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol

from tunnelkit.wire.stream import End

from .answers import Reply
from .head import RequestHead, ResponseHead
from .watching import Watch

__all__ = ["NO_LIMITS", "NO_ROUTE", "Limits", "Owner", "Reached", "Route"]


@dataclass(slots=True)
class Route:
    """Where a request goes."""

    key: Hashable
    """Requests of one client with one key share a connection to the server."""
    why: str = ""
    is_mirrored: bool = False
    """Whether a connection that the server ends without an answer ends for the client in the same
    way, and is not answered with 502."""
    reply: Reply | None = None
    """What the client is answered, where the request goes to nobody."""
    sends: RequestHead | None = None
    """The head that the server is sent; None: as it came."""
    answers: Callable[[ResponseHead], ResponseHead] | None = None
    """Return the head that the client is sent, of the one that the server has sent."""
    is_http1: bool = False
    """Whether the server is asked by HTTP/1.1, whatever the client speaks."""
    watch: Watch | None = None

    def give_up(self) -> None:
        """Nobody goes that way: whoever looks on has nothing to wait for."""
        if self.watch is not None:
            self.watch.over("the client left before it was known where the request goes")


NO_ROUTE: Final = Route(None)
"""Of a request of which it is not known yet where it goes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a client may take, seconds, and how much it may send; None: as much as it likes."""

    idle_seconds: float | None = None
    """Between an answer and the next request.  Stops: clients that keep places they do not use."""
    request_seconds: float | None = None
    """From a request's first byte to the last one of its answer; what was joined for good, as for
    WebSockets, has no limit.  Stops: uploads and downloads that go on for ever, byte by byte."""
    body_bytes: int | None = None
    """The longest body of a request, bytes; None: any.  Stops: uploads that fill somebody's disk,
    whether they say how long they are or not."""


NO_LIMITS: Final = Limits()


class Reached(End, Protocol):
    """Who wants a connection to a server: the server's bytes are pushed into it."""

    def attached(self, server: End) -> None:
        """The server was connected to."""

    def failed(self, status: int, why: str) -> None:
        """The server could not be connected to; says what the client is answered."""


class Owner(Protocol):
    """What a proxy asks of whoever has it."""

    limits: Limits

    def route(self, head: RequestHead, found: Callable[[Route], None]) -> None:
        """Decide where a request goes, and say so, now or later; meanwhile no body is taken."""

    def connect(self, route: Route, back: Reached) -> None:
        """Connect to a server: `attached` or `failed` follows, now or later."""

    def reply(self, head: RequestHead | None, route: Route, status: int, why: str) -> Reply:
        """Return what a client is answered where no server answers.

        Args:
            head: what it asks for; None: that could not be read.
            route: where it was to go; `NO_ROUTE`: that is not known.
            why: what is wrong, and what to do; it holds no secret.
        """

    def start_timer(self, seconds: float, expired: Callable[[], None]) -> Callable[[], None]:
        """Call *expired* after so many seconds, unless what is returned is called before."""

    def now(self) -> float:
        """Return the seconds of a steady clock."""

    def proxy_over(self) -> None:
        """Nothing is left to do for this client."""
