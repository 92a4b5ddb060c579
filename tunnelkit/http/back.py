"""A connection to a server of HTTP/1.x, for one client of HTTP/1.x (no I/O)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from tunnelkit.errors import ErrorCode
from tunnelkit.wire.stream import Buffer, End

from .body import BodyReader, Frame, framing_of_response, keeps_connection
from .errors import HttpRefused
from .head import RequestHead, ResponseHead, read_response
from .intake import Intake
from .outlet import Outlet
from .routing import NO_ROUTE, Route

__all__ = ["NOBODY", "Back", "Exchange", "Front"]


class Front(Protocol):
    """The client's side, as the connection to a server sees it."""

    outlet: Outlet

    def attached(self, back: Back) -> None:
        """The server was connected to."""

    def failed(self, back: Back, status: int, why: str) -> None:
        """The server could not be connected to."""

    def begun(self, exchange: Exchange, head: ResponseHead, *, is_followed: bool) -> None:
        """The head of an answer goes to the client."""

    def answered(self, exchange: Exchange, *, keeps: bool) -> None:
        """The last byte of an answer has gone to the client."""

    def joined(self, back: Back) -> None:
        """The protocol has changed: from now on the two connections are one."""

    def is_joined(self, back: Back) -> bool:
        """Return whether the two connections are one."""

    def tunnel_finished(self) -> None:
        """The server sends no more into the joined connection."""

    def lost(self, back: Back, why: str, *, is_broken: bool = True) -> None:
        """The connection is gone."""

    def refuse(self, error: HttpRefused) -> None:
        """The answer is not carried on."""

    def pull(self) -> None:
        """Take more of the client's bytes."""


class Exchange:
    """A request and its answer."""

    __slots__ = (
        "back",
        "body",
        "cancel_deadline",
        "head",
        "is_answered",
        "is_begun",
        "keeps",
        "response",
        "route",
    )

    def __init__(self, head: RequestHead, body: BodyReader) -> None:
        self.head = head
        self.route = NO_ROUTE
        self.body = body
        self.back: Back = NOBODY
        self.response: BodyReader | None = None
        """Of the final answer, once its head has come."""
        self.is_begun = False
        """Whether a byte of an answer has gone to the client."""
        self.is_answered = False
        self.keeps = keeps_connection(head.fields, head.version)
        self.cancel_deadline: Callable[[], None] | None = None

    @property
    def takes_body(self) -> bool:
        """Whether more of the request's body can go to the server now."""
        back = self.back
        return not self.body.is_over and back.is_attached and not back.outlet.is_full

    def go(self, route: Route) -> None:
        """It is known where it goes."""
        self.route = route
        if route.watch is not None:
            self.body.on_data = route.watch.request_data

    def end(self, why: str = "") -> None:
        """Nothing more comes of it."""
        if self.cancel_deadline is not None:
            self.cancel_deadline()
        if self.route.watch is not None:
            is_whole = self.is_answered and self.body.is_over
            self.route.watch.over("" if is_whole else why or "the connection ended")


class Back(Intake):
    """The connection to one server; its bytes are pushed into it."""

    def __init__(self, proxy: Front | None, exchange: Exchange | None) -> None:
        super().__init__()
        self.is_attached = False
        self.answer_count = 0
        """How many answers have come over it."""
        self._proxy = proxy
        self._exchange = exchange
        self._keeps = True

    @property
    def has_head(self) -> bool:
        """Whether a part of an answer's head has come."""
        return bool(self._head)

    def attached(self, server: End) -> None:
        """The server was connected to."""
        if self._proxy is None:
            server.reset(ErrorCode.CANCELLED, "the client is gone")
            return
        self.outlet.end = server
        self.is_attached = True
        self._proxy.attached(self)

    def failed(self, status: int, why: str) -> None:
        """The server could not be connected to; says what the client is answered."""
        if self._proxy is not None:
            self._proxy.failed(self, status, why)

    def begin(self, exchange: Exchange) -> None:
        """Send a request's head; its body follows."""
        if not self.is_attached:
            return
        self._exchange = exchange
        route = exchange.route
        head = exchange.head if route.sends is None else route.sends
        if route.watch is not None:
            route.watch.sent_to(head, str(route.key))
        self.outlet.send([head.write()])

    def close(self) -> None:
        """End the connection; what comes from now on is thrown away."""
        self._proxy = None
        server = self.outlet.end
        is_whole = self._exchange is None and not self.outlet.is_full
        self.outlet.drop()
        if is_whole:
            server.finish()
            server.stop(ErrorCode.NOT_READING, "")
        else:
            server.reset(ErrorCode.CANCELLED, "the request was given up")

    # --- from the server ----------------------------------------------------------------------

    def _refused(self, error: HttpRefused) -> None:
        if self._proxy is not None:
            self._proxy.refuse(HttpRefused(502, error.rule, "in the server's answer"))

    def _take(self, data: Buffer) -> int:
        proxy, exchange = self._proxy, self._exchange
        if proxy is None:
            return len(data)
        if proxy.outlet.is_full:
            return 0
        if proxy.is_joined(self):
            return proxy.outlet.end.offer(data)
        if exchange is None:
            proxy.lost(self, "the server sent what nobody had asked for")
            return len(data)
        if exchange.response is None:
            return self._take_head(proxy, exchange, data)
        pieces, used = exchange.response.take(data)
        proxy.outlet.send(pieces)
        if exchange.response.is_over:
            self._answered(proxy, exchange, has_more=used < len(data))
        return used

    def _take_head(self, proxy: Front, exchange: Exchange, data: Buffer) -> int:
        head, used = self._read_head(data, read_response)
        if head is None:
            return used
        has_more = used < len(data)
        framing = framing_of_response(head, exchange.head.method)
        response = BodyReader(framing, 502)
        is_final = head.status >= 200 and framing.frame is not Frame.TUNNEL
        is_followed = is_final and not response.is_over and has_more
        proxy.begun(exchange, _as_sent(head, exchange.route), is_followed=is_followed)
        if framing.frame is Frame.TUNNEL:
            self._exchange = None
            proxy.joined(self)
        elif is_final:
            exchange.response = response
            if exchange.route.watch is not None:
                response.on_data = exchange.route.watch.answer_data
            is_kept = keeps_connection(head.fields, head.version)
            self._keeps = is_kept and framing.frame is not Frame.CLOSE
            if response.is_over:
                self._answered(proxy, exchange, has_more=has_more)
        return used

    def _answered(self, proxy: Front, exchange: Exchange, *, has_more: bool = False) -> None:
        """An answer is over; what comes right behind it is the answer to no request."""
        self._keeps &= not has_more
        self.answer_count += 1
        self._exchange = None
        if exchange.route.watch is not None and exchange.response is not None:
            exchange.route.watch.answer_ended(exchange.response.trailers)
        proxy.answered(exchange, keeps=self._keeps)

    def finish(self) -> None:
        """The server sends no more."""
        proxy, exchange = self._proxy, self._exchange
        if proxy is None:
            return
        if proxy.is_joined(self):
            proxy.tunnel_finished()
        elif exchange is not None and exchange.response is not None and exchange.response.ended():
            self._answered(proxy, exchange)
        else:
            why = "the server ended the connection before its answer was over"
            proxy.lost(self, why, is_broken=self.has_head)

    def abort(self, code: int, text: str) -> None:
        self.reset(code, text)

    def stop(self, code: int, text: str) -> None:
        """The server takes no more of a request; its answer may say why."""

    def reset(self, code: int, text: str) -> None:
        if self._proxy is not None:
            self._proxy.lost(self, f"the connection to the server broke: {text}")

    def resume(self) -> None:
        """The server can take bytes again."""
        if self.outlet.flush() and self._proxy is not None:
            self._proxy.pull()


def _as_sent(head: ResponseHead, route: Route) -> ResponseHead:
    """Return the head that the client gets."""
    if route.answers is not None:
        head = route.answers(head)
    if route.watch is not None:
        route.watch.answer_begun(head)
    return head


NOBODY: Final = Back(None, None)
