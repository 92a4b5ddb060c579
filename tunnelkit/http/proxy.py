"""One client connection of HTTP/1.x, whose requests go to different servers (no I/O).

How it works
------------
`HttpProxy` is an end (`tunnelkit.wire.stream.End`) into which the client's bytes are pushed; each
server that its requests go to is a `Back`, an end as well.  None of them waits or starts a task:
what cannot be taken now is not taken, and whoever pushes it keeps it until `resume`.

* A head is read, and its owner says by `route` where the request goes, at once or later.  The
  server is connected to if there is no connection of this client to it; meanwhile nothing more is
  taken from the client.
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
from functools import partial
from typing import Final

from tunnelkit.errors import ErrorCode
from tunnelkit.wire.stream import Buffer, End

from .answers import Reply, head_of_reply
from .back import Back, Exchange
from .body import BodyReader, Frame, framing_of_request
from .errors import HttpRefused, Rule
from .head import REPEATABLE, RequestHead, ResponseHead, read_request
from .intake import Intake
from .routing import NO_ROUTE, Owner, Reached, Route

__all__ = ["HttpProxy"]

HEAD_SECONDS: Final = 10.0
"""How long a head may take from its first byte to its last, seconds.  Stops: clients that send a
byte now and then, and keep a place for it."""

LINGER_SECONDS: Final = 2.0
"""How long what a client still sends is thrown away after the last answer, seconds, so that it is
not lost by a reset."""


class HttpProxy(Intake):
    """The client's side; its bytes are pushed into it."""

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self.owner = owner
        self.request_count = 0
        self._cancel_timer: Callable[[], None] | None = None
        """Of what the client is to do next: begin a request, end its head, or leave."""
        self._exchange: Exchange | None = None
        self._backs: dict[Hashable, Back] = {}
        self._last: Back | None = None
        self._tunnel: Back | None = None
        self._client_ended = False
        self._is_leaving = False
        self._is_ending = False
        """Whether the last byte for the client was sent: what it still sends is thrown away."""
        self._is_over = False

    def join(self, client: End) -> None:
        """Send answers to *client* from now on."""
        self.outlet.end = client
        self._wait_for_request()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked for now."""
        return self._exchange is None and self._tunnel is None

    # --- from the client ----------------------------------------------------------------------

    def _refused(self, error: HttpRefused) -> None:
        self.refuse(error)

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
        most = self.owner.limits.body_bytes
        if most is not None and exchange.body.size > most:
            raise HttpRefused(413, Rule.BODY_SIZE, f"more than {most} bytes")
        exchange.back.outlet.send(pieces)
        if exchange.body.is_over:
            self._asked(exchange)
        return used

    def _asked(self, exchange: Exchange) -> None:
        """A request has ended."""
        if exchange.route.watch is not None:
            exchange.route.watch.request_ended(exchange.body.trailers)
        self._ended_one(exchange)

    def _take_head(self, data: Buffer) -> int:
        if not self._head:
            self._stop_timer()
        head, used = self._read_head(data, read_request)
        if head is not None:
            self._stop_timer()
            self._begin(head)
        elif self._cancel_timer is None:
            self._cancel_timer = self.owner.start_timer(HEAD_SECONDS, self._head_is_late)
        return used

    def _wait_for_request(self) -> None:
        """The client may take its time to ask for something, but not for ever."""
        seconds = self.owner.limits.idle_seconds
        if seconds is not None and not self._head and not self._is_ending:
            self._cancel_timer = self.owner.start_timer(seconds, self._is_idle_for_long)

    def _is_idle_for_long(self) -> None:
        self._cancel_timer = None
        self._end()

    def _head_is_late(self) -> None:
        self._cancel_timer = None
        self.refuse(HttpRefused(408, Rule.SLOW_HEAD, f"more than {HEAD_SECONDS:g} s"))

    def _stop_timer(self) -> None:
        cancel, self._cancel_timer = self._cancel_timer, None
        if cancel is not None:
            cancel()

    def _begin(self, head: RequestHead) -> None:
        exchange = self._exchange = Exchange(head, BodyReader(framing_of_request(head)))
        self.request_count += 1
        seconds = self.owner.limits.request_seconds
        if seconds is not None:
            late = partial(self._is_late, exchange, seconds)
            exchange.cancel_deadline = self.owner.start_timer(seconds, late)
        self.owner.route(head, partial(self._routed, exchange))

    def _is_late(self, exchange: Exchange, seconds: float) -> None:
        exchange.cancel_deadline = None
        if exchange is self._exchange:
            self._fail(exchange, 504, f"the request took more than {seconds:g} s")

    def _routed(self, exchange: Exchange, route: Route) -> None:
        """It is known where a request goes."""
        if exchange is not self._exchange:
            route.give_up()  # the client has left in the meantime
            return
        exchange.go(route)
        if route.watch is not None and exchange.body.is_over:
            route.watch.request_ended(())
        if route.reply is not None:
            self._reply(route.reply)
            return
        self._ask(exchange)
        self.pull()

    def _ask(self, exchange: Exchange) -> None:
        """Send a request to the server of its route."""
        back = self._backs.get(exchange.route.key)
        if back is not None:
            exchange.back = self._last = back
            self._send_to(back, exchange)
            return
        back = exchange.back = self._last = Back(self, exchange)
        self._backs[exchange.route.key] = back
        self.owner.connect(exchange.route, back)

    def _send_to(self, back: Back, exchange: Exchange) -> None:
        back.begin(exchange)
        if self._client_ended and exchange.body.is_over and back.is_attached:
            back.outlet.finish()

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
        client = self._close(text)
        client.reset(code, text)

    def resume(self) -> None:
        """The client can take bytes again."""
        was_full = self.outlet.is_full
        if not self.outlet.flush():
            return
        if was_full and self._is_ending:
            self._stop_timer()  # it has taken all
        self._linger()
        self._close_if_over()
        back = self._tunnel or (self._exchange.back if self._exchange is not None else None)
        if back is not None:
            back.pull()

    # --- from a server ------------------------------------------------------------------------

    def attached(self, back: Back) -> None:
        """A server was connected to: the request that waits for it goes there."""
        exchange = self._exchange
        if exchange is not None and exchange.back is back:
            self._send_to(back, exchange)
            self.pull()

    def begun(self, exchange: Exchange, head: ResponseHead, *, is_followed: bool) -> None:
        """The head of an answer goes to the client, with what follows if that is there already."""
        exchange.is_begun = True
        if is_followed:
            self.outlet.hold(head.write())
        else:
            self.outlet.send([head.write()])

    def joined(self, back: Back) -> None:
        """The protocol has changed: from now on the two connections are one."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.is_answered = True
            exchange.end()
        self._tunnel = back
        if self._client_ended:
            back.outlet.finish()
        self.pull()

    def is_joined(self, back: Back) -> bool:
        """Return whether the two connections are one."""
        return self._tunnel is back

    def tunnel_finished(self) -> None:
        """The server sends no more into the joined connection."""
        self._is_ending = True
        self.outlet.finish()
        self._close_if_over()

    def answered(self, exchange: Exchange, *, keeps: bool) -> None:
        """The last byte of an answer has gone to the client."""
        exchange.is_answered = True
        exchange.keeps = exchange.keeps and keeps and not self._is_leaving
        if not keeps:
            self.drop(exchange.back)
        if exchange.keeps and not self._client_ended:
            self._ended_one(exchange)
        else:
            self._end()

    def _ended_one(self, exchange: Exchange) -> None:
        """A request or its answer has ended: with both, the next one may come."""
        if exchange.is_answered and exchange.body.is_over:
            self._exchange = None
            exchange.end()
            self._wait_for_request()
            self.pull()

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
            self._ask(exchange)
        elif exchange.route.is_mirrored and not is_broken and not exchange.is_begun:
            self._end()
        elif exchange.route.is_mirrored:
            self.reset(ErrorCode.CONNECTION_RESET, why)
        else:
            self._fail(exchange, 502, why)

    def _may_ask_again(self, exchange: Exchange, back: Back) -> bool:
        """Whether a request met the end of a connection that had been used before."""
        is_whole = exchange.body.framing.frame is Frame.NOTHING
        is_unheard = back.answer_count > 0 and not exchange.is_begun and not back.has_head
        return is_unheard and is_whole and exchange.head.method in REPEATABLE

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
        route.watch = exchange.route.watch
        exchange.route = route
        self._ask(exchange)
        self.pull()

    def drop(self, back: Back) -> None:
        """Forget a connection to a server, and end it."""
        for key, known in list(self._backs.items()):
            if known is back:
                del self._backs[key]
        back.close()

    # --- the end ------------------------------------------------------------------------------

    def leave(self) -> None:
        """Let the client go: now if it asks for nothing, else behind its answer."""
        self._is_leaving = True
        if self.is_idle and not self._head:
            self._end()

    def refuse(self, error: HttpRefused) -> None:
        """The client's message, or a server's answer to it, is not carried on."""
        self._answer(error.status, str(error))

    def _fail(self, exchange: Exchange, status: int, why: str) -> None:
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
        if exchange is None:
            self._reply(self.owner.reply(None, NO_ROUTE, status, text))
        else:
            self._reply(self.owner.reply(exchange.head, exchange.route, status, text))

    def _reply(self, reply: Reply) -> None:
        """Give an answer of our own, and end."""
        exchange, head = self._exchange, head_of_reply(reply)
        if exchange is not None:
            exchange.is_begun = True
            if exchange.route.watch is not None:
                exchange.route.watch.answer_begun(head)
                exchange.route.watch.answer_data(reply.body)
                exchange.route.watch.answer_ended(())
                exchange.is_answered = True
        is_wanted = exchange is None or exchange.head.method != b"HEAD"
        self.outlet.send([head.write() + (reply.body if is_wanted else b"")])
        self._end()

    def _end(self) -> None:
        """No more goes to the client, and what it sends is thrown away until it ends too."""
        if self._is_over:
            return
        self._let_go()
        self._stop_timer()
        for back in list(self._backs.values()):
            self.drop(back)
        if not self._is_ending:
            self._is_ending = True
            self.outlet.finish()
            if not self._client_ended:
                self.pull()
        self._linger()
        self._close_if_over()

    def _linger(self) -> None:
        """Wait until the client has taken all, and then for its end."""
        is_waiting = self._is_ending and not self._is_over and self._tunnel is None
        if not is_waiting or self._cancel_timer is not None:
            return
        seconds = self.owner.limits.request_seconds
        if not self.outlet.is_full and not self._client_ended:
            self._cancel_timer = self.owner.start_timer(LINGER_SECONDS, self._linger_is_over)
        elif self.outlet.is_full and seconds is not None:
            self._cancel_timer = self.owner.start_timer(seconds, self._takes_too_long)

    def _takes_too_long(self) -> None:
        self._cancel_timer = None
        self.reset(ErrorCode.NOT_READING, "the client does not take its answer")

    def _close_if_over(self) -> None:
        """Let go of everything once both directions have ended, and all was taken."""
        is_through = not self.outlet.is_full
        if self._tunnel is not None:
            is_through = is_through and not self._tunnel.outlet.is_full
        if self._is_ending and self._client_ended and is_through and not self._is_over:
            self._close()

    def _linger_is_over(self) -> None:
        self._cancel_timer = None
        client = self._close()
        client.stop(ErrorCode.NOT_READING, "the client did not end")  # and no reset: it may still
        # be reading the last answer out of buffers on the way, which a reset would throw away

    def _let_go(self, why: str = "") -> None:
        """Nothing is asked for any more."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.end(why)

    def _close(self, why: str = "") -> End:
        """Let go of everything; return the client's end."""
        self._is_over = True
        self._stop_timer()
        tunnel, self._tunnel = self._tunnel, None
        self._let_go(why)
        for back in [*self._backs.values(), *([tunnel] if tunnel is not None else [])]:
            back.close()
        self._backs.clear()
        client = self.outlet.end
        self.outlet.drop()
        self.owner.proxy_over()
        return client
