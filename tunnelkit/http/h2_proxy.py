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
* Whoever floods is sent away (`h2_gate`).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final
from urllib.parse import quote

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from tunnelkit.wire.stream import NULL_END, Buffer, End

from .h2_back import H2Back
from .h2_fields import head_of, is_trailers
from .h2_gate import Flood
from .h2_lane import Exchange
from .h2_side import Headers, Side
from .head import MAX_FIELDS, MAX_TARGET_BYTES, RequestHead, values_of
from .proxy import Owner, Reached, Route

__all__ = ["H2Proxy"]

_GRPC: Final = b"application/grpc"
_UNAVAILABLE: Final = b"14"


class H2Proxy:
    """The client's side; its bytes are pushed into it."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.side = Side(is_client=False)
        self.request_count = 0
        self._exchanges: dict[int, Exchange] = {}
        self._backs: dict[Hashable, H2Back] = {}
        """Those that take new streams."""
        self._all: set[H2Back] = set()
        self._is_leaving = False
        self._is_over = False
        self._is_taking = False
        """Whether events of the client are gone through: nothing is closed meanwhile."""

    def join(self, client: End) -> None:
        """Send answers to *client* from now on."""
        self.side.outlet.end = client
        self.side.flush()

    # --- from the client ----------------------------------------------------------------------

    def offer(self, data: Buffer) -> int:
        if self._is_over:
            return len(data)
        if self.side.is_stuck:
            return 0
        try:
            events, goaways = self.side.receive(data, self.owner.now())
        except (ProtocolError, Flood) as error:
            self._send_away(error)
            return len(data)
        self._is_taking = True
        for event in events:
            if not self._is_over:
                self._handle(event)
        self._is_taking = False
        self._is_leaving |= bool(goaways)
        self.flush()
        return len(data)

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event)
            return
        if isinstance(event, (WindowUpdated, RemoteSettingsChanged)):
            self._pass_down(getattr(event, "stream_id", 0))
            return
        exchange = self._exchanges.get(getattr(event, "stream_id", None) or 0)
        if exchange is None:
            if isinstance(event, DataReceived):
                self.side.acknowledge(event.stream_id or 0, event.flow_controlled_length or 0)
        elif isinstance(event, DataReceived):
            exchange.up.take(event)
            self.forget_if_done(exchange)
        elif isinstance(event, TrailersReceived):
            if is_trailers(event.headers or []):
                exchange.up.trailers = event.headers
            else:
                self.side.reset(exchange.client_id, ErrorCodes.PROTOCOL_ERROR)
                self._given_up(exchange, ErrorCodes.CANCEL)
        elif isinstance(event, StreamEnded):
            exchange.up.end()
            self.forget_if_done(exchange)
        elif isinstance(event, StreamReset):
            self._given_up(exchange, int(event.error_code or 0))

    def _begin(self, event: RequestReceived) -> None:
        stream_id, headers = event.stream_id or 0, event.headers or []
        head = head_of(headers)
        if head is None:
            self.side.reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        exchange = Exchange(self.side, stream_id, headers, head)
        exchange.up.has_ended = event.stream_ended is not None
        self._exchanges[stream_id] = exchange
        self.request_count += 1
        if len(head.target) > MAX_TARGET_BYTES:
            self.answer(exchange, 414, f"the target is longer than {MAX_TARGET_BYTES} bytes")
        elif len(head.fields) > MAX_FIELDS:
            self.answer(exchange, 431, f"there are more than {MAX_FIELDS} fields")
        else:
            self._send_to(exchange, self.owner.route(head))

    def _send_to(self, exchange: Exchange, route: Route) -> None:
        exchange.route = route
        back = self._backs.get(route.key)
        if back is not None:
            back.wait(exchange)
            return
        back = self._backs[route.key] = H2Back(self)
        self._all.add(back)
        back.wait(exchange)
        self.owner.connect(route, back)

    def _pass_down(self, stream_id: int | None) -> None:
        """Windows of the client have opened: pass answers on."""
        exchange = self._exchanges.get(stream_id or 0)
        for one in [exchange] if exchange is not None else list(self._exchanges.values()):
            if one.down is not None:
                one.down.pass_on()
                self.forget_if_done(one)

    def _given_up(self, exchange: Exchange, code: int) -> None:
        """The client has reset a stream."""
        if exchange.back is not None and exchange.back_id:
            exchange.back.side.reset(exchange.back_id, code)
        self._let_go(exchange)

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

    def begun(self, exchange: Exchange, headers: Headers, *, is_final: bool, ends: bool) -> None:
        """The head of an answer goes to the client."""
        exchange.is_begun |= is_final
        self.side.send_headers(exchange.client_id, headers, ends=ends)

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
        self._let_go(exchange)

    def _let_go(self, exchange: Exchange) -> None:
        exchange.up.drop()
        if exchange.down is not None:
            exchange.down.drop()
        self._exchanges.pop(exchange.client_id, None)
        if exchange.back is not None:
            exchange.back.forget(exchange)

    def answer(self, exchange: Exchange, status: int, text: str) -> None:
        """Answer ourselves where no server does."""
        if exchange.is_begun:
            self.refuse(exchange, ErrorCodes.INTERNAL_ERROR)
            return
        room = self.side.room(exchange.client_id)
        headers, body = _answer_of(exchange.head, status, text, room)
        self.begun(exchange, headers, is_final=True, ends=not body)
        if body:
            self.side.send_data(exchange.client_id, body, ends=True)
        if not exchange.up.has_ended:
            self.side.reset(exchange.client_id, ErrorCodes.NO_ERROR)
        self._let_go(exchange)

    def reroute(self, back: Reached, route: Route) -> None:
        """A server was not connected to, and has seen nothing: ask another one."""
        assert isinstance(back, H2Back)  # as all that this proxy has asked for
        self.gone(back)
        for exchange in back.take_waiting():
            self._send_to(exchange, route)
        self.flush()

    def leaving(self, back: H2Back) -> None:
        """A server takes no more streams."""
        for key, known in list(self._backs.items()):
            if known is back:
                del self._backs[key]

    def gone(self, back: H2Back) -> None:
        """The connection to a server has ended."""
        self.leaving(back)
        self._all.discard(back)

    def flush(self) -> None:
        """Send all that was brought about."""
        self.side.flush()
        for back in list(self._all):
            back.flush()
        is_done = self._is_leaving and not self._exchanges and not self.side.outlet.is_full
        if is_done and not self._is_over and not self._is_taking:
            self._close().finish()

    # --- the end ------------------------------------------------------------------------------

    def _send_away(self, error: Exception) -> None:
        if isinstance(error, Flood):
            self.side.machine.close_connection(error.code)
        self.side.flush()
        self._close().finish()

    def _close(self) -> End:
        """Let go of everything; return the client's end."""
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
        self.side.flush()
        self.side.is_over = True
        client = self.side.outlet.end
        self.side.outlet.drop()
        self.owner.proxy_over()
        return client


def _answer_of(head: RequestHead, status: int, text: str, room: int) -> tuple[Headers, bytes]:
    """Return an answer of our own: of gRPC where that is what the client speaks.

    Args:
        room: for the body, bytes; it is left out where it does not fit in.
    """
    kind = next(values_of(head.fields, b"content-type"), b"")
    if kind.startswith(_GRPC):
        message = quote(text, safe=" !#$&'()*+,/:;=?@[]").encode()
        return [
            *((b":status", b"200"), (b"content-type", _GRPC)),
            *((b"grpc-status", _UNAVAILABLE), (b"grpc-message", message)),
        ], b""
    body = f"{text}\n".encode()
    body = body if len(body) <= room else b""
    return [
        *((b":status", b"%d" % status), (b"content-type", b"text/plain; charset=utf-8")),
        *((b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")),
    ], body
