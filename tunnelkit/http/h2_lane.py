"""A request of HTTP/2 and its answer, on their way between two connections (no I/O)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from tunnelkit.wire.stream import Buffer

from .h2_side import Headers
from .head import Fields, RequestHead
from .routing import NO_ROUTE, Route

__all__ = ["Exchange", "Lane", "Server", "Source", "Target"]


SMALL_BYTES: Final = 1024
"""A piece shorter than that is joined with the next, bytes.  Stops: bytes that come one by one, and
cost many times their size to keep."""


class Source(Protocol):
    """A connection from which bytes of streams come."""

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let so much more of a stream come: it was passed on, or nobody wants it."""


class Target(Protocol):
    """A connection to which bytes of streams go."""

    def room(self, stream_id: int) -> int:
        """Return how many bytes of a stream can be sent now."""

    def send_data(self, stream_id: int, data: bytes, *, ends: bool) -> None:
        """Send bytes of a stream, for which there is room."""

    def send_headers(self, stream_id: int, headers: Headers, *, ends: bool) -> None:
        """Send a head, or trailers."""

    def end_stream(self, stream_id: int) -> None:
        """End a stream."""


class Server(Protocol):
    """A connection to a server, as the proxy of a client sees it."""

    def wait(self, exchange: Exchange) -> None:
        """Send a request once that can be done."""

    def take_waiting(self) -> list[Exchange]:
        """Return the requests that were not sent."""

    def give_up(self, exchange: Exchange, code: int) -> None:
        """The client has reset a stream."""

    def forget(self, exchange: Exchange) -> None:
        """A stream has ended."""

    def flush(self) -> None:
        """Send all that was brought about."""

    def resume_server(self) -> None:
        """Take more of the server's bytes."""

    def close(self) -> None:
        """End the connection."""


class Lane:
    """One direction of a stream: what has come, and has not been passed on.

    Args:
        source: the connection from which it comes.
        from_id: its stream there.
    """

    __slots__ = (
        "_on_data",
        "_on_end",
        "_waiting",
        "from_id",
        "has_ended",
        "is_over",
        "source",
        "target",
        "to_id",
        "trailers",
    )

    def __init__(self, source: Source, from_id: int) -> None:
        self.source = source
        self.from_id = from_id
        self.target: Target | None = None
        """The connection to which it goes; None: not known yet."""
        self.to_id = 0
        self.trailers: Headers | None = None
        self.has_ended = False
        """Whether no more comes."""
        self.is_over = False
        """Whether its end was passed on, or nobody wants it."""
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._on_data: Callable[[Buffer], None] | None = None
        self._on_end: Callable[[Fields], None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it has ended, and nothing waits."""
        return self.has_ended and not self._waiting and not self.trailers

    def join(self, target: Target, to_id: int) -> None:
        """Pass bytes on to a stream."""
        self.target = target
        self.to_id = to_id

    def show(self, on_data: Callable[[Buffer], None], on_end: Callable[[Fields], None]) -> None:
        """Tell somebody what has come, and what comes."""
        for data, _ in self._waiting:
            on_data(data)
        self._on_data, self._on_end = on_data, on_end
        if self.has_ended:
            on_end(())

    def take(self, data: bytes, size: int, *, is_last: bool) -> None:
        """Bytes came: pass on what can be passed on.

        Args:
            size: what is to be acknowledged, bytes: *data*, and what was around it.
        """
        if self.is_over or not data:
            self.source.acknowledge(self.from_id, size)
        else:
            self._keep(data, size)
            if self._on_data is not None:
                self._on_data(data)
        if is_last:
            self.end()
        else:
            self.pass_on()

    def _keep(self, data: bytes, size: int) -> None:
        """Keep what has come; small pieces join the one before."""
        if self._waiting and len(self._waiting[-1][0]) < SMALL_BYTES:
            before, size_before = self._waiting.pop()
            data, size = before + data, size_before + size
        self._waiting.append((data, size))

    def end(self) -> None:
        """No more comes."""
        if not self.has_ended:
            self.has_ended = True
            if self._on_end is not None:
                self._on_end(tuple(self.trailers or ()))
        self.pass_on()

    def pass_on(self) -> None:
        """Pass on what the window of the other side allows."""
        target = self.target
        if target is None or self.is_over:
            return
        while self._waiting:
            room = target.room(self.to_id)
            if not room:
                return
            data, size = self._waiting.popleft()
            part, rest = data[:room], data[room:]
            if rest:
                self._waiting.appendleft((rest, size))
            self.is_over = self.is_empty
            target.send_data(self.to_id, part, ends=self.is_over)
            if not rest:
                self.source.acknowledge(self.from_id, size)
        if self.has_ended and not self.is_over:
            self.is_over = True
            if self.trailers:
                target.send_headers(self.to_id, self.trailers, ends=True)
            else:
                target.end_stream(self.to_id)

    def drop(self) -> None:
        """Nobody wants what waits: let the rest of the connection go on."""
        self.is_over = True  # at once: what was acknowledged may let more come right now
        waiting, self._waiting = self._waiting, deque()
        for _, size in waiting:
            self.source.acknowledge(self.from_id, size)


class Exchange:
    """A request and its answer."""

    __slots__ = (
        "back",
        "back_id",
        "body_bytes",
        "cancel_deadline",
        "client_id",
        "down",
        "head",
        "headers",
        "is_begun",
        "late_code",
        "route",
        "up",
    )

    def __init__(self, client: Source, client_id: int, headers: Headers, head: RequestHead) -> None:
        self.client_id = client_id
        self.headers = headers
        self.head = head
        self.body_bytes = 0
        """How much of the request's body has come."""
        self.route = NO_ROUTE
        self.back: Server | None = None
        """The connection to the server that it goes to."""
        self.back_id = 0
        """Its stream there; 0: it waits for one."""
        self.is_begun = False
        """Whether the head of the final answer has gone to the client."""
        self.late_code: int | None = None
        """With what the stream ends once all of a whole answer has gone."""
        self.up = Lane(client, client_id)
        self.down: Lane | None = None
        self.cancel_deadline: Callable[[], None] | None = None

    @property
    def is_done(self) -> bool:
        """Whether both directions have ended."""
        is_answered = self.down is not None and self.down.is_over
        return is_answered and (self.up.is_over or self.late_code is not None)

    def go(self, route: Route) -> None:
        """It is known where it goes."""
        self.route = route
        if route.watch is not None:
            self.up.show(route.watch.request_data, route.watch.request_ended)

    def begin_answer(self, source: Source, from_id: int, client: Target) -> Lane:
        """Return the lane of the answer, once the request goes to a server."""
        self.down = Lane(source, from_id)
        self.down.join(client, self.client_id)
        watch = self.route.watch
        if watch is not None:
            watch.sent_to(self.route.sends or self.head, str(self.route.key))
            self.down.show(watch.answer_data, watch.answer_ended)
        return self.down

    def over(self, why: str) -> None:
        """Nothing more comes of it.

        Args:
            why: what is missing was cut off; "": nothing is.
        """
        if self.cancel_deadline is not None:
            self.cancel_deadline()
        if self.route.watch is not None:
            self.route.watch.over(why)
