"""A connection to a server, shared by the streams of one HTTP/2 client that go there (no I/O)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tunnelkit.errors import ErrorCode
from tunnelkit.wire.stream import Buffer, End

from .h2_events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoAway,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from .h2_fields import headers_of, is_answer, is_trailers
from .h2_frames import ErrorCodes
from .h2_lane import Exchange
from .h2_side import Side

if TYPE_CHECKING:
    from .h2_proxy import H2Proxy

__all__ = ["H2Back"]

_BROKEN = "the server's answer breaks HTTP/2"


class H2Back:
    """The connection to one server; its bytes are pushed into it."""

    def __init__(self, proxy: H2Proxy) -> None:
        self.side = Side(is_client=True)
        self._proxy: H2Proxy | None = proxy
        self._is_attached = False
        self._is_leaving = False
        self._waiting: deque[Exchange] = deque()
        self._exchanges: dict[int, Exchange] = {}

    # --- streams ------------------------------------------------------------------------------

    def wait(self, exchange: Exchange) -> None:
        """Send a request once the server takes one more stream."""
        exchange.back = self
        self._waiting.append(exchange)
        self._begin_waiting()

    def take_waiting(self) -> list[Exchange]:
        """Return the requests that were not sent."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def forget(self, exchange: Exchange) -> None:
        """A stream has ended."""
        self._exchanges.pop(exchange.back_id, None)
        if exchange in self._waiting:
            self._waiting.remove(exchange)
        self._begin_waiting()
        self._end_if_left()

    def give_up(self, exchange: Exchange, code: int) -> None:
        """The client has reset a stream."""
        if exchange.back_id:
            self.side.reset(exchange.back_id, code)

    def _begin_waiting(self) -> None:
        most = self.side.machine.peer.max_streams
        while self._waiting and self._is_attached and not (self._is_leaving or self.side.is_over):
            if len(self._exchanges) >= most:
                return
            self._begin(self._waiting.popleft())

    def _begin(self, exchange: Exchange) -> None:
        assert self._proxy is not None  # nobody begins once it is closed
        up, sends = exchange.up, exchange.route.sends
        up.is_over = up.is_empty
        headers = exchange.headers if sends is None else headers_of(sends, exchange.headers)
        exchange.back_id = self.side.machine.open_stream(headers, ends=up.is_over)
        self._exchanges[exchange.back_id] = exchange
        exchange.begin_answer(self.side, exchange.back_id, self._proxy.side)
        up.join(self.side, exchange.back_id)
        up.pass_on()

    def flush(self) -> None:
        """Send all that was brought about, once there is somebody to send it to."""
        if self._is_attached:
            self.side.flush()

    # --- the connection -----------------------------------------------------------------------

    def attached(self, server: End) -> None:
        """The server was connected to."""
        if self._proxy is None:
            server.reset(ErrorCode.CANCELLED, "the client is gone")
            return
        self.side.outlet.end = server
        self._is_attached = True
        self._begin_waiting()
        self._proxy.flush()

    def failed(self, status: int, why: str) -> None:
        """The server could not be connected to."""
        proxy = self._proxy
        if proxy is not None:
            proxy.gone(self)
            for exchange in self.take_waiting():
                proxy.answer(exchange, status, why)
            proxy.flush()

    def close(self) -> None:
        """End the connection."""
        self._proxy = None
        self.side.flush()
        self.side.is_over = True
        server = self.side.outlet.end
        self.side.outlet.drop()
        server.finish()
        server.stop(ErrorCode.NOT_READING, "")

    def _end_if_left(self) -> None:
        proxy = self._proxy
        if self._is_leaving and not self._exchanges and not self._waiting and proxy is not None:
            proxy.gone(self)
            self.close()

    def resume_server(self) -> None:
        """Take more of the server's bytes."""
        self.side.outlet.end.resume()

    # --- from the server ----------------------------------------------------------------------

    def offer(self, data: Buffer) -> int:
        proxy = self._proxy
        if proxy is None:
            return len(data)
        if self.side.is_stuck or proxy.side.is_stuck:
            return 0
        for event in self.side.receive(data, proxy.owner.now()):
            self._handle(proxy, event)
        proxy.flush()
        return len(data)

    def _handle(self, proxy: H2Proxy, event: Event) -> None:
        if isinstance(event, WindowUpdated):
            self._pass_up(proxy, event.stream_id)
            return
        if isinstance(event, (RemoteSettingsChanged, GoAway, ConnectionFailed)):
            self._handle_of_all(proxy, event)
            return
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None or exchange.down is None:
            if isinstance(event, DataReceived):
                self.side.acknowledge(event.stream_id, event.flow_controlled_length)
            return
        down = exchange.down
        if not _is_right(event):
            self.side.reset(exchange.back_id, ErrorCodes.PROTOCOL_ERROR)
            proxy.answer(exchange, 502, _BROKEN)
            return
        if isinstance(event, (ResponseReceived, InformationalResponseReceived)):
            is_last = isinstance(event, ResponseReceived) and event.stream_ended
            proxy.begun(exchange, event.headers, is_last=is_last)
        elif isinstance(event, DataReceived):
            down.take(event.data, event.flow_controlled_length, is_last=event.stream_ended)
        elif isinstance(event, TrailersReceived):
            down.trailers = event.headers
        elif isinstance(event, StreamEnded):
            down.end()
        elif isinstance(event, StreamReset):
            self._reset(proxy, exchange, event)
        proxy.forget_if_done(exchange)

    def _handle_of_all(
        self, proxy: H2Proxy, event: RemoteSettingsChanged | GoAway | ConnectionFailed
    ) -> None:
        if isinstance(event, RemoteSettingsChanged):
            self._pass_up(proxy, 0)
        elif isinstance(event, GoAway):
            self._leave(proxy, event)
        else:
            self._lost(f"the server breaks HTTP/2 ({event.text})")

    def _reset(self, proxy: H2Proxy, exchange: Exchange, event: StreamReset) -> None:
        """A stream is reset: behind a whole answer if there is one (RFC 9113 §8.1)."""
        if _kept_whole(exchange, event.error_code):
            return
        if event.by_peer:
            proxy.refuse(exchange, event.error_code)
        else:
            proxy.answer(exchange, 502, _BROKEN)

    def _pass_up(self, proxy: H2Proxy, stream_id: int) -> None:
        self._begin_waiting()
        exchange = self._exchanges.get(stream_id)
        for one in [exchange] if exchange is not None else list(self._exchanges.values()):
            one.up.pass_on()
            proxy.forget_if_done(one)

    def _leave(self, proxy: H2Proxy, goaway: GoAway) -> None:
        """The server goes away: what it has not seen may be sent again."""
        self._is_leaving = True
        proxy.leaving(self)
        for back_id, exchange in list(self._exchanges.items()):
            if back_id > goaway.last_stream_id:
                proxy.refuse(exchange, ErrorCodes.REFUSED_STREAM)
        for exchange in self.take_waiting():
            proxy.refuse(exchange, ErrorCodes.REFUSED_STREAM)
        self._end_if_left()

    def finish(self) -> None:
        self._lost("the server ended the connection")

    def abort(self, code: int, text: str) -> None:
        self._lost(text)

    def stop(self, code: int, text: str) -> None:
        """The server takes no more; its end follows."""

    def reset(self, code: int, text: str) -> None:
        self._lost(text)

    def resume(self) -> None:
        """The server can take bytes again."""
        proxy = self._proxy
        if proxy is not None and self.side.outlet.flush():
            self._pass_up(proxy, 0)
            proxy.flush()
            self.side.outlet.end.resume()

    def _lost(self, why: str) -> None:
        proxy = self._proxy
        if proxy is None:
            return
        proxy.gone(self)
        exchanges = [*self._exchanges.values(), *self.take_waiting()]
        self._exchanges.clear()
        self.close()
        for exchange in exchanges:
            if not _kept_whole(exchange, ErrorCodes.NO_ERROR):
                proxy.answer(exchange, 502, f"the connection to the server broke: {why}")
        proxy.flush()


def _kept_whole(exchange: Exchange, code: int) -> bool:
    """Keep an answer that has come as a whole, and waits to be taken; return whether it is one."""
    if exchange.down is None or not exchange.down.has_ended or exchange.down.is_over:
        return False
    exchange.up.drop()
    exchange.late_code = code
    return True


def _is_right(event: Event) -> bool:
    """Return whether the fields that have come, if any have, can be passed on."""
    if isinstance(event, (ResponseReceived, InformationalResponseReceived)):
        return is_answer(event.headers)
    return not isinstance(event, TrailersReceived) or is_trailers(event.headers)
