"""A request of HTTP/2 and its answer, on their way between two connections (no I/O)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from h2.events import DataReceived

from .h2_side import Headers, Side
from .head import RequestHead
from .proxy import Route

if TYPE_CHECKING:
    from .h2_back import H2Back

__all__ = ["Exchange", "Lane"]


class Lane:
    """One direction of a stream: what has come, and has not been passed on.

    Args:
        source: the connection from which it comes.
        from_id: its stream there.
    """

    __slots__ = (
        "_waiting",
        "from_id",
        "has_ended",
        "is_over",
        "source",
        "target",
        "to_id",
        "trailers",
    )

    def __init__(self, source: Side, from_id: int) -> None:
        self.source = source
        self.from_id = from_id
        self.target: Side | None = None
        """The connection to which it goes; None: not known yet."""
        self.to_id = 0
        self.trailers: Headers | None = None
        self.has_ended = False
        """Whether no more comes."""
        self.is_over = False
        """Whether its end was passed on, or nobody wants it."""
        self._waiting: deque[tuple[bytes, int]] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether it has ended, and nothing waits."""
        return self.has_ended and not self._waiting and not self.trailers

    def join(self, target: Side, to_id: int) -> None:
        """Pass bytes on to a stream."""
        self.target = target
        self.to_id = to_id

    def take(self, event: DataReceived) -> None:
        """Bytes came: pass on what can be passed on."""
        data, size = event.data or b"", event.flow_controlled_length or 0
        if self.is_over or not data:
            self.source.acknowledge(self.from_id, size)
        else:
            self._waiting.append((data, size))
        self.has_ended |= event.stream_ended is not None
        self.pass_on()

    def end(self) -> None:
        """No more comes."""
        self.has_ended = True
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
        for _, size in self._waiting:
            self.source.acknowledge(self.from_id, size)
        self._waiting.clear()
        self.is_over = True


class Exchange:
    """A request and its answer."""

    __slots__ = (
        "back",
        "back_id",
        "client_id",
        "down",
        "head",
        "headers",
        "is_begun",
        "late_code",
        "route",
        "up",
    )

    def __init__(self, client: Side, client_id: int, headers: Headers, head: RequestHead) -> None:
        self.client_id = client_id
        self.headers = headers
        self.head = head
        self.route = Route(None)
        self.back: H2Back | None = None
        """The connection to the server that it goes to."""
        self.back_id = 0
        """Its stream there; 0: it waits for one."""
        self.is_begun = False
        """Whether the head of the final answer has gone to the client."""
        self.late_code: int | None = None
        """With what the stream ends once all of a whole answer has gone."""
        self.up = Lane(client, client_id)
        self.down: Lane | None = None

    @property
    def is_done(self) -> bool:
        """Whether both directions have ended."""
        is_answered = self.down is not None and self.down.is_over
        return is_answered and (self.up.is_over or self.late_code is not None)
