"""One client connection of HTTP/2, whose streams go to different servers (no I/O).

How it works
------------
As `proxy` does with requests of HTTP/1.x, stream by stream, and all of them at the same time.
The client talks to a machine of ours (`h2_side`), and for each server that its streams go to there
is another one (`h2_back`), whose connection they share.  What is passed on is what a message says:
fields in their order, data, trailers, and how it ends.

* A stream's bytes wait here for the window of the other side (`h2_lane`), and only what was passed
  on is acknowledged: so a slow reader stops its own stream, up to its sender, and no other.
* A reset goes on as a reset with the same code.  A server that goes away (GOAWAY) gets no new
  streams; those that it has not seen are refused, so that the client may send them again.
* A server that cannot be reached is answered for: with a status, or with one of gRPC.
* A route may say that its server speaks HTTP/1.1: then each stream has a connection to it, which
  the next one uses again (`h1_back`).
* Whoever floods, or breaks HTTP/2, is sent away (`h2_machine`, `h2_gate`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Final

from tunnelkit.errors import ErrorCode
from tunnelkit.wire.stream import NULL_END, Buffer, End

from .answers import Reply, grpc_fields, head_of_reply, is_grpc
from .h1_back import H1Back
from .h2_back import H2Back
from .h2_events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoAway,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from .h2_fields import answer_of, head_of, headers_of_answer, is_trailers
from .h2_frames import ErrorCodes
from .h2_lane import Exchange, Server
from .h2_side import Headers, Side
from .head import MAX_FIELDS, MAX_TARGET_BYTES
from .routing import Owner, Reached, Route

__all__ = ["H2Proxy"]

LINGER_SECONDS: Final = 2.0
"""How long a client may take to end its side once we have ended ours, seconds.  Stops: clients
that are sent away, and stay."""


class H2Proxy:
    """The client's side; its bytes are pushed into it."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.side = Side(is_client=False)
        self.request_count = 0
        self._exchanges: dict[int, Exchange] = {}
        self._backs: dict[Hashable, H2Back] = {}
        """Those that take new streams."""
        self._http1: dict[Hashable, set[H1Back]] = {}
        self._all: set[Server] = set()
        self._is_leaving = False
        self._is_over = False
        self._is_taking = False
        """Whether events of the client are gone through: nothing is closed meanwhile."""
        self._cancel_idle: Callable[[], None] | None = None
        """Of what the client is to do next: begin a request, or leave."""
        self._untaken_bytes = 0
        """How much it had not taken yet when it was last found idle."""

    def join(self, client: End) -> None:
        """Send answers to *client* from now on."""
        self.side.outlet.end = client
        self.side.flush()
        self._wait_for_request()

    # --- from the client ----------------------------------------------------------------------

    def offer(self, data: Buffer) -> int:
        if self._is_over:
            return len(data)
        if self.side.is_stuck:
            return 0
        self._is_taking = True
        for event in self.side.receive(data, self.owner.now()):
            if not self._is_over:
                self._handle(event)
        self._is_taking = False
        self.flush()
        return len(data)

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event)
            return
        if isinstance(event, WindowUpdated):
            self._pass_down(event.stream_id)
            return
        if isinstance(event, (RemoteSettingsChanged, GoAway, ConnectionFailed)):
            self._handle_of_all(event)
            return
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None:
            if isinstance(event, DataReceived):
                self.side.acknowledge(event.stream_id, event.flow_controlled_length)
        elif isinstance(event, DataReceived):
            size, data = event.flow_controlled_length, event.data
            exchange.body_bytes += len(data)
            if self._is_too_long(exchange):
                self.side.acknowledge(exchange.client_id, size)
                return
            exchange.up.take(data, size, is_last=event.stream_ended)
            self.forget_if_done(exchange)
        elif isinstance(event, TrailersReceived):
            if is_trailers(event.headers):
                exchange.up.trailers = event.headers
            else:
                self.side.reset(exchange.client_id, ErrorCodes.PROTOCOL_ERROR)
                self._given_up(exchange, ErrorCodes.CANCEL)
        elif isinstance(event, StreamEnded):
            exchange.up.end()
            self.forget_if_done(exchange)
        elif isinstance(event, StreamReset):
            self._given_up(exchange, event.error_code)

    def _handle_of_all(self, event: RemoteSettingsChanged | GoAway | ConnectionFailed) -> None:
        if isinstance(event, RemoteSettingsChanged):
            self._pass_down(0)
        elif isinstance(event, GoAway):
            self._is_leaving = True
        else:
            self._leave()

    def _is_too_long(self, exchange: Exchange) -> bool:
        """Refuse a request of which more came than may come."""
        most = self.owner.limits.body_bytes
        if most is None or exchange.body_bytes <= most:
            return False
        self._withdraw(exchange, ErrorCodes.CANCEL)
        self.answer(exchange, 413, f"a request may have {most} bytes")
        return True

    def _begin(self, event: RequestReceived) -> None:
        stream_id, headers = event.stream_id, event.headers
        head = head_of(headers)
        if head is None:
            self.side.reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        exchange = Exchange(self.side, stream_id, headers, head)
        exchange.up.has_ended = event.stream_ended
        self._exchanges[stream_id] = exchange
        self.request_count += 1
        self._stop_idling()
        seconds = self.owner.limits.request_seconds
        if seconds is not None:
            late = partial(self._is_late, exchange, seconds)
            exchange.cancel_deadline = self.owner.start_timer(seconds, late)
        if len(head.target) > MAX_TARGET_BYTES:
            self.answer(exchange, 414, f"the target is longer than {MAX_TARGET_BYTES} bytes")
        elif len(head.fields) > MAX_FIELDS:
            self.answer(exchange, 431, f"there are more than {MAX_FIELDS} fields")
        else:
            self.owner.route(head, partial(self._routed, exchange))

    def _routed(self, exchange: Exchange, route: Route) -> None:
        """It is known where a request goes."""
        if self._exchanges.get(exchange.client_id) is not exchange:
            route.give_up()  # the client has given it up in the meantime
            return
        exchange.go(route)
        if route.reply is not None:
            self._reply(exchange, route.reply)
        else:
            self.ask(exchange)
        if not self._is_taking:
            self.flush()

    def ask(self, exchange: Exchange) -> None:
        """Send a request to the server of its route."""
        key = exchange.route.key
        back: Server | None = self._backs.get(key)
        if exchange.route.is_http1:
            back = next((one for one in self._http1.get(key, ()) if one.is_free), None)
        if back is not None:
            back.wait(exchange)
            return
        made = self._new_back(exchange.route)
        made.wait(exchange)
        self.owner.connect(exchange.route, made)

    def _new_back(self, route: Route) -> H1Back | H2Back:
        made: H1Back | H2Back
        if route.is_http1:
            made = H1Back(self)
            self._http1.setdefault(route.key, set()).add(made)
        else:
            made = self._backs[route.key] = H2Back(self)
        self._all.add(made)
        return made

    # --- how long a client may take -----------------------------------------------------------

    def _wait_for_request(self) -> None:
        """The client may take its time to ask for something, but not for ever."""
        seconds = self.owner.limits.idle_seconds
        if seconds is not None and not self._exchanges and not self._is_over:
            self._stop_idling()
            self._cancel_idle = self.owner.start_timer(seconds, self._is_idle_for_long)

    def _stop_idling(self) -> None:
        cancel, self._cancel_idle = self._cancel_idle, None
        if cancel is not None:
            cancel()

    def leave(self) -> None:
        """Let the client go: now if it asks for nothing, else behind its answers."""
        if self._is_over:
            return
        if self._exchanges:
            self._is_leaving = True
        else:
            self.side.machine.close_connection()
            self._leave()

    def _is_idle_for_long(self) -> None:
        self._cancel_idle = None
        untaken, self._untaken_bytes = self._untaken_bytes, self.side.outlet.waiting_bytes
        if not self._untaken_bytes:
            self.side.machine.close_connection()
            self._leave()
        elif self._untaken_bytes != untaken:
            self._wait_for_request()  # it still takes what it was sent
        else:
            self.reset(ErrorCode.NOT_READING, "the client does not take its answers")

    def _is_late(self, exchange: Exchange, seconds: float) -> None:
        exchange.cancel_deadline = None
        self._withdraw(exchange, ErrorCodes.CANCEL)
        self.answer(exchange, 504, f"the request took more than {seconds:g} s")
        self.flush()

    def _pass_down(self, stream_id: int | None) -> None:
        """Windows of the client have opened: pass answers on."""
        exchange = self._exchanges.get(stream_id or 0)
        for one in [exchange] if exchange is not None else list(self._exchanges.values()):
            if one.down is not None:
                one.down.pass_on()
                self.forget_if_done(one)

    def _given_up(self, exchange: Exchange, code: int) -> None:
        """The client has reset a stream."""
        self._withdraw(exchange, code)
        self._let_go(exchange, "the client gave it up")

    def _withdraw(self, exchange: Exchange, code: int) -> None:
        """Tell the server that nobody wants its answer."""
        if exchange.back is not None:
            exchange.back.give_up(exchange, code)

    def finish(self) -> None:
        """The client has ended its side, and with it everything."""
        self._close().finish()

    def abort(self, code: int, text: str) -> None:
        self.reset(code, text)

    def stop(self, code: int, text: str) -> None:
        self.reset(code, text)

    def reset(self, code: int, text: str) -> None:
        """The client is gone, or has to go."""
        self._close().reset(code, text)

    def resume(self) -> None:
        """The client can take bytes again."""
        if not self._is_over and self.side.outlet.flush():
            self._pass_down(0)
            self.flush()
            self.side.outlet.end.resume()
            for back in list(self._all):
                back.resume_server()

    # --- from servers -------------------------------------------------------------------------

    def begun(self, exchange: Exchange, headers: Headers, *, is_last: bool) -> None:
        """The head of an answer goes to the client."""
        route = exchange.route
        if route.answers is not None:
            headers = headers_of_answer(route.answers(answer_of(headers)))
        if route.watch is not None:
            route.watch.answer_begun(answer_of(headers))
        exchange.is_begun |= headers[0][1][:1] != b"1"
        self.side.send_headers(exchange.client_id, headers, ends=is_last)
        if is_last and exchange.down is not None:
            exchange.down.is_over = True
            exchange.down.end()

    def forget_if_done(self, exchange: Exchange) -> None:
        """Forget a stream whose two directions have ended."""
        if not exchange.is_done:
            return
        if exchange.late_code is not None:
            self.side.reset(exchange.client_id, exchange.late_code)
        self._let_go(exchange)

    def refuse(self, exchange: Exchange, code: int) -> None:
        """A server has reset a stream, or does not take it: so it is for the client."""
        self.side.reset(exchange.client_id, code)
        self._let_go(exchange, "the server reset the stream")

    def _let_go(self, exchange: Exchange, why: str = "") -> None:
        if self._exchanges.pop(exchange.client_id, None) is None:
            return
        exchange.over("" if exchange.is_done else why)
        exchange.up.drop()
        if exchange.down is not None:
            exchange.down.drop()
        if exchange.back is not None:
            exchange.back.forget(exchange)
        self._wait_for_request()

    def answer(self, exchange: Exchange, status: int, text: str) -> None:
        """Answer ourselves where no server does."""
        if exchange.is_begun:
            self.refuse(exchange, ErrorCodes.INTERNAL_ERROR)
            return
        if is_grpc(exchange.head):
            self.begun(exchange, list(grpc_fields(text)), is_last=True)
            self._answered(exchange)
        else:
            self._reply(exchange, self.owner.reply(exchange.head, exchange.route, status, text))

    def _reply(self, exchange: Exchange, reply: Reply) -> None:
        """Give an answer of our own; its body only if there is room for it at once."""
        head, watch = head_of_reply(reply), exchange.route.watch
        is_wanted = exchange.head.method != b"HEAD"
        body = reply.body if self.side.room(exchange.client_id) >= len(reply.body) else b""
        if is_wanted and body != reply.body:
            head = head_of_reply(Reply(reply.status, b"", reply.kind, reply.fields))
        headers = headers_of_answer(head)
        if watch is not None:
            watch.answer_begun(head)
            watch.answer_data(body)
            watch.answer_ended(())
        exchange.is_begun = True
        has_body = is_wanted and body != b""
        self.side.send_headers(exchange.client_id, headers, ends=not has_body)
        if has_body:
            self.side.send_data(exchange.client_id, body, ends=True)
        self._answered(exchange)

    def _answered(self, exchange: Exchange) -> None:
        """The client has an answer of ours: the rest of its request is not wanted."""
        if not exchange.up.has_ended:
            self.side.reset(exchange.client_id, ErrorCodes.NO_ERROR)
        self._let_go(exchange, "" if exchange.up.has_ended else "it was answered before its end")

    def reroute(self, back: Reached, route: Route) -> None:
        """A server was not connected to, and has seen nothing: ask another one."""
        assert isinstance(back, (H1Back, H2Back))  # as all that this proxy has asked for
        self.gone(back)
        for exchange in back.take_waiting():
            route.watch = exchange.route.watch
            exchange.route = route
            self.ask(exchange)
        self.flush()

    def leaving(self, back: Server) -> None:
        """A server takes no more streams."""
        for key, known in list(self._backs.items()):
            if known is back:
                del self._backs[key]

    def gone(self, back: Server) -> None:
        """The connection to a server has ended."""
        self.leaving(back)
        self._all.discard(back)
        for backs in self._http1.values():
            backs.discard(back)

    def flush(self) -> None:
        """Send all that was brought about."""
        self.side.flush()
        for back in list(self._all):
            back.flush()
        is_done = self._is_leaving and not self._exchanges and not self.side.outlet.is_full
        if is_done and not self._is_over and not self._is_taking:
            self._leave()

    # --- the end ------------------------------------------------------------------------------

    def _leave(self) -> None:
        """End our side; a client that does not end its own in time is left."""
        self.side.flush()
        client = self._close()
        client.finish()
        stop = partial(client.stop, ErrorCode.NOT_READING, "the client did not end")
        self._cancel_idle = self.owner.start_timer(LINGER_SECONDS, stop)

    def _close(self) -> End:
        """Let go of everything; return the client's end."""
        self._stop_idling()
        if self._is_over:
            return NULL_END
        self._is_over = True
        for back in self._all:
            back.take_waiting()
        for exchange in list(self._exchanges.values()):
            self._given_up(exchange, ErrorCodes.CANCEL)
        for back in list(self._all):
            back.close()
        self._all.clear()
        self._backs.clear()
        self._http1.clear()
        self.side.flush()
        self.side.is_over = True
        client = self.side.outlet.end
        self.side.outlet.drop()
        self.owner.proxy_over()
        return client
