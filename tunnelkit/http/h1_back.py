"""A connection to a server of HTTP/1.1, for one stream of an HTTP/2 client at a time (no I/O).

A request goes as HTTP/1.1 says it (RFC 9113 §8 and RFC 9112): with chunks where its length is not
known, and with a `Host` for its authority.  Of the answer goes back what is about the message, and
nothing that is about the connection.  The connection is kept for the client's next stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tunnelkit.errors import ErrorCode
from tunnelkit.wire.stream import Buffer, End

from .body import NOT_IN_TRAILERS, BodyReader, Frame, framing_of_response, keeps_connection
from .errors import HttpRefused, Rule
from .h2_fields import headers_of_answer, is_answer, is_trailers, trailers_of
from .h2_frames import ErrorCodes
from .h2_lane import Exchange
from .h2_side import Headers
from .head import (
    REPEATABLE,
    Fields,
    RequestHead,
    ResponseHead,
    read_response,
    values_of,
    write_fields,
)
from .intake import Intake

if TYPE_CHECKING:
    from .h2_proxy import H2Proxy

__all__ = ["H1Back", "http1_head"]

MAX_UNTAKEN_BYTES: Final = 64 * 1024
"""How much of an answer may wait for the client's window, bytes.  Stops: a client that opens none
and lets us keep everything."""

ROOM_BYTES: Final = 64 * 1024
"""How much of a request is sent at once, bytes."""

_WITH_BODY: Final = (b"POST", b"PUT", b"PATCH")


class H1Back(Intake):
    """The connection to one server; its bytes are pushed into it."""

    def __init__(self, proxy: H2Proxy) -> None:
        super().__init__()
        self.is_free = False
        """Whether it can take another request."""
        self._proxy: H2Proxy | None = proxy
        self._exchange: Exchange | None = None
        self._is_attached = False
        self._is_used = False
        self._has_body = False
        """Whether the request under way has one; what was sent of it is not kept."""
        self._is_chunked = False
        self._keeps = True
        self._response: BodyReader | None = None
        self._pieces: list[bytes] = []
        """Of the answer's body, in what is being taken."""
        self._untaken_bytes = 0

    # --- the request --------------------------------------------------------------------------

    def wait(self, exchange: Exchange) -> None:
        """Send a request once the server was connected to."""
        exchange.back = self
        self.is_free = False
        self._exchange = exchange
        self._response = None
        if self._is_attached:
            self._begin(exchange)

    def take_waiting(self) -> list[Exchange]:
        """Return the request that was not sent."""
        if self._exchange is None or self._is_attached:
            return []
        exchange, self._exchange = self._exchange, None
        return [exchange]

    def _begin(self, exchange: Exchange) -> None:
        assert self._proxy is not None  # nobody begins once it is closed
        up, head = exchange.up, exchange.route.sends or exchange.head
        up.is_over = up.is_empty
        self._has_body = not up.is_over
        has_length = any(values_of(head.fields, b"content-length"))
        self._is_chunked = not up.is_over and not has_length
        body = Frame.CHUNKS if self._is_chunked else Frame.NOTHING if up.is_over else Frame.LENGTH
        self.outlet.send([http1_head(head, body).write()])
        exchange.begin_answer(self, 0, self._proxy.side)
        up.join(self, 0)
        up.pass_on()

    def room(self, stream_id: int) -> int:
        return 0 if self.outlet.is_full else ROOM_BYTES

    def send_data(self, stream_id: int, data: bytes, *, ends: bool) -> None:
        if not self._is_chunked:
            self.outlet.send([data])
            return
        last = b"\r\n0\r\n\r\n" if ends else b"\r\n"
        self.outlet.send([b"%x\r\n" % len(data), data, last])

    def send_headers(self, stream_id: int, headers: Headers, *, ends: bool) -> None:
        """Send trailers; those that would say something about the message itself are left out."""
        if self._is_chunked:
            kept = [(name, value) for name, value in headers if name not in NOT_IN_TRAILERS]
            self.outlet.send([b"0\r\n", write_fields(kept), b"\r\n"])

    def end_stream(self, stream_id: int) -> None:
        if self._is_chunked:
            self.outlet.send([b"0\r\n\r\n"])

    def give_up(self, exchange: Exchange, code: int) -> None:
        """The client has reset a stream: the connection cannot be used for another one."""
        self._keeps = False

    def forget(self, exchange: Exchange) -> None:
        """A stream has ended."""
        proxy = self._proxy
        if exchange is not self._exchange or proxy is None:
            return
        self._exchange = None
        is_whole = self._response is not None and self._response.is_over and exchange.up.is_empty
        if is_whole and self._keeps and self._is_attached and not self.outlet.is_full:
            self.is_free = self._is_used = True
            return
        proxy.gone(self)
        self.close()

    # --- the connection -----------------------------------------------------------------------

    def attached(self, server: End) -> None:
        """The server was connected to."""
        if self._proxy is None:
            server.reset(ErrorCode.CANCELLED, "the client is gone")
            return
        self.outlet.end = server
        self._is_attached = True
        if self._exchange is not None:
            self._begin(self._exchange)
            self._proxy.flush()

    def failed(self, status: int, why: str) -> None:
        """The server could not be connected to."""
        proxy, exchange = self._proxy, self._exchange
        if proxy is not None:
            proxy.gone(self)
            self._proxy = None
            if exchange is not None:
                proxy.answer(exchange, status, why)
            proxy.flush()

    def flush(self) -> None:
        """Nothing is collected here."""

    def close(self) -> None:
        """End the connection."""
        self._proxy = None
        self.is_free = False
        server = self.outlet.end
        is_whole = self._exchange is None and not self.outlet.is_full and self._keeps
        self.outlet.drop()
        if is_whole:
            server.finish()
            server.stop(ErrorCode.NOT_READING, "")
        else:
            server.reset(ErrorCode.CANCELLED, "the request was given up")

    def resume_server(self) -> None:
        """Take more of the server's bytes."""
        self.pull()

    def acknowledge(self, stream_id: int, size: int) -> None:
        """So much of the answer has gone to the client, or nobody wants it."""
        was_full = self._untaken_bytes >= MAX_UNTAKEN_BYTES
        self._untaken_bytes -= size
        if was_full and self._untaken_bytes < MAX_UNTAKEN_BYTES and self._proxy is not None:
            self.pull()

    # --- from the server ----------------------------------------------------------------------

    def _refused(self, error: HttpRefused) -> None:
        self._lost(f"its answer breaks a rule: {error}")

    def _take(self, data: Buffer) -> int:
        proxy, exchange = self._proxy, self._exchange
        if proxy is None:
            return len(data)
        if exchange is None:
            self._lost("it sent what nobody had asked for")
            return len(data)
        if self._untaken_bytes >= MAX_UNTAKEN_BYTES or proxy.side.is_stuck:
            return 0
        if self._response is None:
            used = self._take_head(proxy, exchange, data)
        else:
            used = self._response.take(data)[1]
        self._pass_down(exchange)
        if self._response is not None and self._response.is_over:
            self._keeps &= used == len(data)  # what comes behind it is the answer to no request
            self._answered(proxy, exchange, self._response)
        proxy.flush()
        return used

    def _pass_down(self, exchange: Exchange) -> None:
        """Give the client what has come of an answer's body."""
        pieces, self._pieces = self._pieces, []
        response, down = self._response, exchange.down
        if response is None or down is None or not pieces:
            return
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._untaken_bytes += len(data)
        down.take(data, len(data), is_last=response.is_over and not response.trailers)

    def _take_head(self, proxy: H2Proxy, exchange: Exchange, data: Buffer) -> int:
        head, used = self._read_head(data, read_response)
        if head is None:
            return used
        framing = framing_of_response(head, exchange.head.method)
        headers = headers_of_answer(head)
        if framing.frame is Frame.TUNNEL or not is_answer(headers):
            raise HttpRefused(502, Rule.STATUS_LINE, "an upgrade that nobody asked for")
        if head.status >= 200:
            self._begin_answer(head, BodyReader(framing, 502))
        is_last = self._response is not None and self._response.is_over
        proxy.begun(exchange, headers, is_last=is_last)
        return used

    def _begin_answer(self, head: ResponseHead, response: BodyReader) -> None:
        self._response = response
        response.on_data = self._got
        is_kept = keeps_connection(head.fields, head.version)
        self._keeps &= is_kept and response.framing.frame is not Frame.CLOSE

    def _got(self, data: Buffer) -> None:
        self._pieces.append(bytes(data))

    def _answered(self, proxy: H2Proxy, exchange: Exchange, response: BodyReader) -> None:
        """An answer has come to its end; it may still have to wait for the client."""
        down = exchange.down
        if down is not None and not down.has_ended:
            trailers = trailers_of(response.trailers)
            down.trailers = trailers if trailers and is_trailers(trailers) else None
            down.end()
        proxy.forget_if_done(exchange)

    def finish(self) -> None:
        """The server sends no more."""
        proxy, exchange, response = self._proxy, self._exchange, self._response
        self._keeps = False
        if proxy is None:
            return
        if exchange is not None and response is not None and response.ended():
            self._answered(proxy, exchange, response)
            self._keep_whole(proxy, exchange)
        else:
            self._lost("it ended the connection before its answer was over")

    def abort(self, code: int, text: str) -> None:
        self.reset(code, text)

    def stop(self, code: int, text: str) -> None:
        """The server takes no more of a request; its answer may say why."""

    def reset(self, code: int, text: str) -> None:
        self._lost(text)

    def resume(self) -> None:
        """The server can take bytes again."""
        proxy, exchange = self._proxy, self._exchange
        if proxy is not None and self.outlet.flush() and exchange is not None:
            exchange.up.pass_on()
            proxy.forget_if_done(exchange)
            proxy.flush()

    def _keep_whole(self, proxy: H2Proxy, exchange: Exchange) -> None:
        """The server is gone; its answer has come as a whole, and goes on to the client."""
        proxy.gone(self)
        self.close()
        if not exchange.up.is_over:
            exchange.up.drop()
            exchange.late_code = ErrorCodes.NO_ERROR
        proxy.forget_if_done(exchange)
        proxy.flush()

    def _lost(self, why: str) -> None:
        proxy, exchange = self._proxy, self._exchange
        if proxy is None:
            return
        self._keeps = False
        if exchange is not None and self._response is not None and self._response.is_over:
            self._keep_whole(proxy, exchange)
            return
        proxy.gone(self)
        self._exchange = None
        if exchange is None:
            self.close()
            return
        is_again = self._is_used and not exchange.is_begun and not self._head
        self.close()
        if is_again and not self._has_body and exchange.head.method in REPEATABLE:
            proxy.ask(exchange)
        else:
            proxy.answer(exchange, 502, f"the connection to the server broke: {why}")
        proxy.flush()


def http1_head(head: RequestHead, body: Frame) -> RequestHead:
    """Return a request of HTTP/2 as HTTP/1.1 says it.

    Args:
        body: by what its body will end; `LENGTH`: its fields say so already.
    """
    cookies = list(values_of(head.fields, b"cookie"))
    kept = [(name, value) for name, value in head.fields if name.lower() != b"cookie"]
    if all(name.lower() != b"host" for name, _ in kept):
        kept.insert(0, (b"host", b""))  # RFC 9112 §3.2
    if cookies:
        kept.append((b"cookie", b"; ".join(cookies)))  # RFC 9113 §8.2.3
    if body is Frame.CHUNKS:
        kept.append((b"transfer-encoding", b"chunked"))
    elif body is Frame.NOTHING and _needs_length(head):
        kept.append((b"content-length", b"0"))
    fields: Fields = tuple(kept)
    return RequestHead(head.method, head.target, b"1.1", fields)


def _needs_length(head: RequestHead) -> bool:
    """Return whether a request without a body has to say so (RFC 9110 §8.6)."""
    return head.method in _WITH_BODY and not any(values_of(head.fields, b"content-length"))
