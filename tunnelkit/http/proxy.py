"""One client connection of HTTP/1.x, whose requests go to different servers (no I/O).

How it works
------------
`HttpProxy` is an end (`tunnelkit.wire.stream.End`) into which the client's bytes are pushed; each
server that its requests go to is a `Back`, an end as well.  None of them waits or starts a task:
what cannot be taken now is not taken, and whoever pushes it keeps it until `resume`.

* A head is read, and its owner says by `route` where the request goes.  The server is connected to
  if there is no connection of this client to it; meanwhile nothing more is taken from the client.
* The head is written anew, and the body goes on as it comes, in both directions at the same time:
  a response may begin, and end, before its request has.
* The next request is looked at when both have ended.  So answers stay in order, and a client that
  sends several at once gets them one by one.
* What a server sends before its answer (1xx) goes to the client; an answer that changes the
  protocol (101, or to CONNECT) joins the two connections for good.
* A connection to a server that ends while nothing is asked of it ends the client's too, as it
  would without us, unless it is another one than the last request went to.
* A message that breaks a rule (`HttpRefused`) ends there: the client is told by an answer if none
  has begun, and by a reset otherwise, so that what is cut never looks whole.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol

from tunnelkit.errors import ErrorCode
from tunnelkit.wire.stream import Buffer, End

from .answers import answer_of, wants_json
from .body import (
    BodyReader,
    Frame,
    framing_of_request,
    framing_of_response,
    keeps_connection,
)
from .errors import HttpRefused, Rule
from .head import MAX_HEAD_BYTES, RequestHead, read_request, read_response
from .outlet import Outlet

__all__ = ["Back", "HttpProxy", "Owner", "Reached", "Route"]

HEAD_SECONDS: Final = 10.0
"""How long a head may take from its first byte to its last, seconds.  Stops: clients that send a
byte now and then, and keep a place for it."""

LINGER_SECONDS: Final = 2.0
"""How long what a client still sends is thrown away after the last answer, seconds, so that it is
not lost by a reset."""

_AGAIN: Final = (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE")
"""Methods that may be sent again where a connection ended before the answer (RFC 9110 §9.2.2)."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes."""

    key: Hashable
    """Requests of one client with one key share a connection to the server."""
    why: str = ""
    is_mirrored: bool = False
    """Whether a connection that the server ends without an answer ends for the client in the same
    way, and is not answered with 502."""


class Reached(End, Protocol):
    """Who wants a connection to a server: the server's bytes are pushed into it."""

    def attached(self, server: End) -> None:
        """The server was connected to."""

    def failed(self, status: int, why: str) -> None:
        """The server could not be connected to; says what the client is answered."""


class Owner(Protocol):
    """What a proxy asks of whoever has it."""

    def route(self, head: RequestHead) -> Route:
        """Decide where a request goes."""

    def connect(self, route: Route, back: Reached) -> None:
        """Connect to a server: `attached` or `failed` follows, now or later."""

    def start_timer(self, seconds: float, expired: Callable[[], None]) -> Callable[[], None]:
        """Call *expired* after so many seconds, unless what is returned is called before."""

    def now(self) -> float:
        """Return the seconds of a steady clock."""

    def proxy_over(self) -> None:
        """Nothing is left to do for this client."""


class _Exchange:
    """A request and its answer."""

    __slots__ = ("back", "body", "head", "is_answered", "is_begun", "keeps", "response", "route")

    def __init__(self, head: RequestHead, route: Route, body: BodyReader) -> None:
        self.head = head
        self.route = route
        self.body = body
        self.back: Back = _NOBODY
        self.response: BodyReader | None = None
        """Of the final answer, once its head has come."""
        self.is_begun = False
        """Whether a byte of an answer has gone to the client."""
        self.is_answered = False
        self.keeps = keeps_connection(head.fields, head.version)

    @property
    def takes_body(self) -> bool:
        """Whether more of the request's body can go to the server now."""
        back = self.back
        return not self.body.is_over and back.is_attached and not back.outlet.is_full


class HttpProxy:
    """The client's side; its bytes are pushed into it."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.client = Outlet()
        self.request_count = 0
        self._head = b""
        self._cancel_timer: Callable[[], None] | None = None
        self._exchange: _Exchange | None = None
        self._backs: dict[Hashable, Back] = {}
        self._last: Back | None = None
        self._tunnel: Back | None = None
        self._client_ended = False
        self._is_ending = False
        """Whether the last byte for the client was sent: what it still sends is thrown away."""
        self._is_over = False
        self._is_taking = False

    def join(self, client: End) -> None:
        """Send answers to *client* from now on."""
        self.client.end = client

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked for now."""
        return self._exchange is None and self._tunnel is None

    # --- from the client ----------------------------------------------------------------------

    def offer(self, data: Buffer) -> int:
        taken = 0
        self._is_taking = True
        try:
            while taken < len(data):
                used = self._take(data[taken:] if taken else data)
                if not used:
                    break
                taken += used
        except HttpRefused as error:
            self.refuse(error)
            return len(data)
        finally:
            self._is_taking = False
        return taken

    def resume_client(self) -> None:
        """Take more of the client's bytes: it pushes them, unless it does so right now."""
        if not self._is_taking:
            self.client.end.resume()

    def _take(self, data: Buffer) -> int:
        if self._tunnel is not None:
            return 0 if self._tunnel.outlet.is_full else self._tunnel.outlet.end.offer(data)
        if self._is_ending or self._is_over:
            return len(data)
        exchange = self._exchange
        if exchange is None:
            return self._take_head(data)
        if not exchange.takes_body:
            return 0
        pieces, used = exchange.body.take(data)
        exchange.back.outlet.send(pieces)
        if exchange.body.is_over:
            self._ended_one(exchange)
        return used

    def _take_head(self, data: Buffer) -> int:
        before = len(self._head)
        lines = self._head + bytes(data[: MAX_HEAD_BYTES + 4 - before])
        found = read_request(lines)
        if found is None:
            self._head = lines
            if self._cancel_timer is None:
                self._cancel_timer = self.owner.start_timer(HEAD_SECONDS, self._head_is_late)
            return len(lines) - before
        head, size = found
        self._head = b""
        self._stop_timer()
        self._begin(head)
        return size - before

    def _head_is_late(self) -> None:
        self._cancel_timer = None
        self.refuse(HttpRefused(408, Rule.SLOW_HEAD, f"more than {HEAD_SECONDS:g} s"))

    def _stop_timer(self) -> None:
        cancel, self._cancel_timer = self._cancel_timer, None
        if cancel is not None:
            cancel()

    def _begin(self, head: RequestHead) -> None:
        body = BodyReader(framing_of_request(head))
        exchange = self._exchange = _Exchange(head, self.owner.route(head), body)
        self.request_count += 1
        back = self._backs.get(exchange.route.key)
        if back is None:
            self._connect(exchange)
            return
        exchange.back = self._last = back
        back.begin(exchange)

    def _connect(self, exchange: _Exchange) -> None:
        back = exchange.back = self._last = Back(self, exchange)
        self._backs[exchange.route.key] = back
        self.owner.connect(exchange.route, back)

    def finish(self) -> None:
        """The client sends no more."""
        self._client_ended = True
        exchange = self._exchange
        if self._tunnel is not None:
            self._tunnel.outlet.finish()
            self._close_if_over()
        elif self._is_ending or (exchange is None and not self._head):
            self._end()
        elif exchange is None or not exchange.body.is_over:
            self.reset(ErrorCode.CONNECTION_RESET, "the client left in the middle of a request")
        elif exchange.back.is_attached:
            exchange.back.outlet.finish()

    def abort(self, code: int, text: str) -> None:
        self.reset(code, text)

    def stop(self, code: int, text: str) -> None:
        self.reset(code, text)

    def reset(self, code: int, text: str) -> None:
        """The client is gone, or has to go: break everything."""
        if self._is_over:
            return
        client = self._close()
        client.reset(code, text)

    def resume(self) -> None:
        """The client can take bytes again."""
        if not self.client.flush():
            return
        self._linger()
        self._close_if_over()
        back = self._tunnel or (self._exchange.back if self._exchange is not None else None)
        if back is not None:
            back.resume_server()

    # --- from a server ------------------------------------------------------------------------

    def attached(self, back: Back) -> None:
        """A server was connected to: the request that waits for it goes there."""
        exchange = self._exchange
        if exchange is not None and exchange.back is back:
            back.begin(exchange)
            if self._client_ended and exchange.body.is_over:
                back.outlet.finish()
            self.resume_client()

    def begun(self, exchange: _Exchange, data: bytes, *, is_followed: bool) -> None:
        """The head of an answer goes to the client, with what follows if that is there already."""
        exchange.is_begun = True
        if is_followed:
            self.client.hold(data)
        else:
            self.client.send([data])

    def joined(self, back: Back) -> None:
        """The protocol has changed: from now on the two connections are one."""
        self._exchange = None
        self._tunnel = back
        if self._client_ended:
            back.outlet.finish()
        self.resume_client()

    def is_joined(self, back: Back) -> bool:
        """Return whether the two connections are one."""
        return self._tunnel is back

    def tunnel_finished(self) -> None:
        """The server sends no more into the joined connection."""
        self._is_ending = True
        self.client.finish()
        self._close_if_over()

    def answered(self, exchange: _Exchange, *, keeps: bool) -> None:
        """The last byte of an answer has gone to the client."""
        exchange.is_answered = True
        exchange.keeps = exchange.keeps and keeps
        if not keeps:
            self.drop(exchange.back)
        if exchange.keeps and not self._client_ended:
            self._ended_one(exchange)
        else:
            self._end()

    def _ended_one(self, exchange: _Exchange) -> None:
        """A request or its answer has ended: with both, the next one may come."""
        if exchange.is_answered and exchange.body.is_over:
            self._exchange = None
            self.resume_client()

    def lost(self, back: Back, why: str, *, is_broken: bool = True) -> None:
        """A connection to a server is gone."""
        self.drop(back)
        exchange = self._exchange
        if self._tunnel is back:
            self.reset(ErrorCode.CONNECTION_RESET, why)
        elif exchange is None or exchange.back is not back:
            if back is self._last and self.is_idle and not self._head:
                self._end()
        elif exchange.is_answered:
            self._end()  # what is left of the request is asked for by nobody
        elif self._may_ask_again(exchange, back):
            self._connect(exchange)
        elif exchange.route.is_mirrored and not is_broken and not exchange.is_begun:
            self._end()
        elif exchange.route.is_mirrored:
            self.reset(ErrorCode.CONNECTION_RESET, why)
        else:
            self._fail(exchange, 502, why)

    def _may_ask_again(self, exchange: _Exchange, back: Back) -> bool:
        """Whether a request met the end of a connection that had been used before."""
        is_whole = exchange.body.framing.frame is Frame.NOTHING
        is_unheard = back.answer_count > 0 and not exchange.is_begun and not back.has_head
        return is_unheard and is_whole and exchange.head.method in _AGAIN

    def failed(self, back: Back, status: int, why: str) -> None:
        """A server could not be connected to."""
        self.drop(back)
        exchange = self._exchange
        if exchange is not None and exchange.back is back:
            self._fail(exchange, status, why)

    def reroute(self, back: Reached, route: Route) -> None:
        """A server was not connected to, and has seen nothing: ask another one."""
        assert isinstance(back, Back)  # as all that this proxy has asked for
        self.drop(back)
        exchange = self._exchange
        if exchange is None or exchange.back is not back:
            return
        exchange.route = route
        known = self._backs.get(route.key)
        if known is None:
            self._connect(exchange)
        else:
            exchange.back = self._last = known
            known.begin(exchange)
            self.resume_client()

    def drop(self, back: Back) -> None:
        """Forget a connection to a server, and end it."""
        for key, known in list(self._backs.items()):
            if known is back:
                del self._backs[key]
        back.close()

    # --- the end ------------------------------------------------------------------------------

    def refuse(self, error: HttpRefused) -> None:
        """The client's message, or a server's answer to it, is not carried on."""
        self._answer(error.status, str(error))

    def _fail(self, exchange: _Exchange, status: int, why: str) -> None:
        if exchange.is_begun:
            self.reset(ErrorCode.CONNECTION_RESET, why)
        else:
            self._answer(status, why)

    def _answer(self, status: int, text: str) -> None:
        """Answer ourselves, if no answer has begun, and end."""
        exchange = self._exchange
        if self._tunnel is not None or (exchange is not None and exchange.is_begun):
            self.reset(ErrorCode.CONNECTION_RESET, text)
            return
        is_json = exchange is not None and wants_json(exchange.head.fields)
        self.client.send([answer_of(status, text, is_json=is_json)])
        self._end()

    def _end(self) -> None:
        """No more goes to the client, and what it sends is thrown away until it ends too."""
        if self._is_over:
            return
        self._exchange = None
        self._stop_timer()
        for back in list(self._backs.values()):
            self.drop(back)
        if not self._is_ending:
            self._is_ending = True
            self.client.finish()
            self._linger()
            if not self._client_ended:
                self.resume_client()
        self._close_if_over()

    def _linger(self) -> None:
        """Wait for the client's end, once it has taken all."""
        is_waiting = self._is_ending and not self._client_ended and not self._is_over
        if is_waiting and not self.client.is_full and self._cancel_timer is None:
            self._cancel_timer = self.owner.start_timer(LINGER_SECONDS, self._linger_is_over)

    def _close_if_over(self) -> None:
        """Let go of everything once both directions have ended, and all was taken."""
        is_through = not self.client.is_full
        if self._tunnel is not None:
            is_through = is_through and not self._tunnel.outlet.is_full
        if self._is_ending and self._client_ended and is_through and not self._is_over:
            self._close()

    def _linger_is_over(self) -> None:
        self._cancel_timer = None
        client = self._close()
        client.stop(ErrorCode.NOT_READING, "the client did not end")  # and no reset: it may still
        # be reading the last answer out of buffers on the way, which a reset would throw away

    def _close(self) -> End:
        """Let go of everything; return the client's end."""
        self._is_over = True
        self._stop_timer()
        tunnel, self._tunnel = self._tunnel, None
        self._exchange = None
        for back in [*self._backs.values(), *([tunnel] if tunnel is not None else [])]:
            back.close()
        self._backs.clear()
        client = self.client.end
        self.client.drop()
        self.owner.proxy_over()
        return client


class Back:
    """The connection to one server; its bytes are pushed into it."""

    def __init__(self, proxy: HttpProxy | None, exchange: _Exchange | None) -> None:
        self.outlet = Outlet()
        self.is_attached = False
        self.answer_count = 0
        """How many answers have come over it."""
        self._proxy = proxy
        self._exchange = exchange
        self._head = b""
        self._keeps = True
        self._is_taking = False

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

    def begin(self, exchange: _Exchange) -> None:
        """Send a request's head; its body follows."""
        if self.is_attached:
            self._exchange = exchange
            self.outlet.send([exchange.head.write()])

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

    def offer(self, data: Buffer) -> int:
        taken = 0
        self._is_taking = True
        try:
            while taken < len(data):
                used = self._take(data[taken:] if taken else data)
                if not used:
                    break
                taken += used
        except HttpRefused as error:
            if self._proxy is not None:
                self._proxy.refuse(HttpRefused(502, error.rule, "in the server's answer"))
            return len(data)
        finally:
            self._is_taking = False
        return taken

    def resume_server(self) -> None:
        """Take more of the server's bytes: it pushes them, unless it does so right now."""
        if not self._is_taking:
            self.outlet.end.resume()

    def _take(self, data: Buffer) -> int:
        proxy, exchange = self._proxy, self._exchange
        if proxy is None:
            return len(data)
        if proxy.client.is_full:
            return 0
        if proxy.is_joined(self):
            return proxy.client.end.offer(data)
        if exchange is None:
            proxy.lost(self, "the server sent what nobody had asked for")
            return len(data)
        if exchange.response is None:
            return self._take_head(proxy, exchange, data)
        pieces, used = exchange.response.take(data)
        proxy.client.send(pieces)
        if exchange.response.is_over:
            self._answered(proxy, exchange, has_more=used < len(data))
        return used

    def _take_head(self, proxy: HttpProxy, exchange: _Exchange, data: Buffer) -> int:
        before = len(self._head)
        lines = self._head + bytes(data[: MAX_HEAD_BYTES + 4 - before])
        found = read_response(lines)
        if found is None:
            self._head = lines
            return len(lines) - before
        head, size = found
        self._head = b""
        framing = framing_of_response(head, exchange.head.method)
        response = BodyReader(framing, 502)
        is_final = head.status >= 200 and framing.frame is not Frame.TUNNEL
        is_followed = is_final and not response.is_over and size - before < len(data)
        proxy.begun(exchange, head.write(), is_followed=is_followed)
        if framing.frame is Frame.TUNNEL:
            self._exchange = None
            proxy.joined(self)
        elif is_final:
            exchange.response = response
            is_kept = keeps_connection(head.fields, head.version)
            self._keeps = is_kept and framing.frame is not Frame.CLOSE
            if exchange.response.is_over:
                self._answered(proxy, exchange, has_more=size - before < len(data))
        return size - before

    def _answered(self, proxy: HttpProxy, exchange: _Exchange, *, has_more: bool = False) -> None:
        """An answer is over; what comes right behind it is the answer to no request."""
        self._keeps &= not has_more
        self.answer_count += 1
        self._exchange = None
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
            self._proxy.resume_client()


_NOBODY: Final = Back(None, None)
