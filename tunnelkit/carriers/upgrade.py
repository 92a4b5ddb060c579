"""The HTTP handshake that turns a pipe into a WebSocket, for both sides.

A handshake is an object on a pipe, driven by the pump like everything else: no task waits in it.
h11 and wsproto read and write the HTTP; here is what a tunnel wants of it: one path, one
subprotocol, perhaps a bearer token, no compression, and an answer in plain words for everybody
who asks for something else.  The whole exchange has one deadline and one limit of size.
"""

from __future__ import annotations

import hmac
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import h11
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.utilities import RemoteProtocolError

from tunnelkit.addresses import Address
from tunnelkit.errors import ConfigurationError
from tunnelkit.pump import Pump

from .pipe import Connected, ConnectFailed, Listener, Network, Pending, Pipe, PipeBroken
from .websocket import WebSocketPipe

__all__ = ["SUBPROTOCOL", "WebSocketOptions", "connect_websocket", "listen_websocket"]

_log = logging.getLogger(__name__)

SUBPROTOCOL: Final = "tunnelkit.v1"
"""What both sides must name in the handshake."""

MAX_HEAD_BYTES: Final = 16 * 1024
"""Largest HTTP request or response head, bytes.  Stops: endless heads."""

TIMEOUT_SECONDS: Final = 5.0
"""Time for the whole exchange, seconds.  Stops: slow heads."""

LINGER_SECONDS: Final = 1.0
"""How long a refused client may take to read why, seconds."""

_HEAD_END: Final = b"\r\n\r\n"
_HINTS: Final = {
    401: "the server wants another bearer token",
    403: "the server does not let this client in; look at its rules",
    404: "there is nothing at this path; compare it with the server's",
    407: "a proxy on the way wants a user name and a password",
    426: "the server wants another protocol; is this the address of a tunnel?",
    429: "the server wants fewer attempts; try again later",
    502: "a proxy on the way does not reach the tunnel; is the tunnel running?",
    503: "the server is not ready; try again later",
    504: "a proxy on the way does not reach the tunnel; is the tunnel running?",
}


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """What a WebSocket handshake carries beside the path.

    Args:
        headers: further headers of the client's request, such as a gateway on the way may want.
        bearer_token: sent by a client in `Authorization`; a server lets in only who sends it.

    Raises:
        ConfigurationError: a header is none that HTTP allows.
    """

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    bearer_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            h11.Request(method="GET", target="/", headers=[(b"Host", b"x"), *self.fields()])
        except (h11.LocalProtocolError, UnicodeError):
            text = "a WebSocket header or bearer token has characters that HTTP does not allow"
            raise ConfigurationError(f"{text}; use printable ASCII without line ends") from None

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return the headers, the token's included."""
        found = [(name.encode("ascii"), value.encode("ascii")) for name, value in self.headers]
        if self.bearer_token is not None:
            found.append((b"Authorization", b"Bearer " + self.bearer_token.encode("ascii")))
        return found


class _Handshake(ABC):
    """One side's part of the exchange, on one pipe."""

    def __init__(self, inner: Pipe) -> None:
        self._inner = inner
        self._received = bytearray()
        self._out = b""
        self._after: Callable[[], None] = lambda: None
        self._is_over = False
        seconds = TIMEOUT_SECONDS
        self._timer = inner.pump.call_later(seconds, self.too_late)

    @abstractmethod
    def head_arrived(self, head: bytes, early: bytes) -> None:
        """All of the other side's HTTP has arrived, and perhaps more."""

    @abstractmethod
    def check_start(self, start: bytes) -> bool:
        """Look at the first bytes; return whether they can be HTTP, having failed otherwise."""

    @abstractmethod
    def fail(self, why: str) -> None:
        """End the handshake without a WebSocket."""

    def too_late(self) -> None:
        """The time is over."""
        self.fail(f"no complete handshake within {TIMEOUT_SECONDS:g} s")

    def begin(self) -> None:
        """Let the pump drive the handshake."""
        self._inner.start(self._ready)
        self._inner.want(True, False)

    def write(self, data: bytes, after: Callable[[], None]) -> None:
        """Send *data*, then call *after*."""
        self._out, self._after = data, after
        self._flush()

    def _flush(self) -> None:
        self._out = self._out[self._inner.try_send(self._out) :]
        self._inner.want(True, bool(self._out))
        if not self._out:
            after, self._after = self._after, lambda: None
            after()

    def _ready(self, readable: bool, writable: bool) -> None:
        try:
            if writable and self._out:
                self._flush()
            if readable and not self._is_over:
                self._receive()
        except PipeBroken as error:
            self.fail(str(error))

    def _receive(self) -> None:
        data = self._inner.try_receive(MAX_HEAD_BYTES)
        if data is None:
            return
        if not data:
            self.fail("the other side closed the connection during the handshake")
            return
        searched = max(0, len(self._received) - len(_HEAD_END) + 1)
        self._received += data
        if not self.check_start(bytes(self._received[:8])):
            return
        end = self._received.find(_HEAD_END, searched) + len(_HEAD_END)
        if end >= len(_HEAD_END):
            self.head_arrived(bytes(self._received[:end]), bytes(self._received[end:]))
        elif len(self._received) > MAX_HEAD_BYTES:
            self.fail(f"an HTTP head of more than {MAX_HEAD_BYTES} bytes")

    def finish(self) -> None:
        """Nothing more is read or written here."""
        self._is_over = True
        self._timer.cancel()
        self._inner.want(False, False)  # until the next owner starts the pipe

    def abandon(self) -> None:
        """Give it up, and close the pipe."""
        self.finish()
        self._inner.close()


# --- the client ----------------------------------------------------------------------------


class _Client(_Handshake):
    """Asks for a WebSocket."""

    def __init__(
        self, inner: Pipe, address: Address, options: WebSocketOptions, done: Connected
    ) -> None:
        super().__init__(inner)
        self._address = address
        self._done = done
        self._http = WSConnection(ConnectionType.CLIENT)
        self._request = Request(
            host=replace(address, host=address.name).host_port,
            target=address.path or "/",
            subprotocols=[SUBPROTOCOL],
            extra_headers=options.fields(),
        )

    def ask(self) -> None:
        """Send the request."""
        self.begin()
        try:
            self.write(self._http.send(self._request), lambda: None)
        except PipeBroken as error:
            self.fail(str(error))
        except UnicodeError:
            self.fail("the host is no host name")

    def check_start(self, start: bytes) -> bool:
        expected = b"HTTP/1."
        if start[: len(expected)] == expected[: len(start)]:
            return True
        if start[:1] == b"\x15":
            self.fail("the server speaks TLS: use wss:// in place of ws://")
        else:
            self.fail("the answer is not HTTP: is it a tunnel without WebSocket, tcp://?")
        return False

    def head_arrived(self, head: bytes, early: bytes) -> None:
        try:
            self._http.receive_data(head)
            event = next(iter(self._http.events()), None)
        except (RemoteProtocolError, UnicodeError) as error:
            self.fail(f"the server's handshake is wrong: {_plain(error)}")
            return
        if isinstance(event, RejectConnection):
            code = event.status_code
            hint = _HINTS.get(code, "is this the address of a tunnel?")
            self.fail(f"the server answered HTTP {code}: {hint}")
        elif not isinstance(event, AcceptConnection):
            self.fail("the server's handshake is wrong: bad HTTP message")
        elif event.subprotocol != SUBPROTOCOL:
            self.fail(f"it is a WebSocket, but not of a tunnel (subprotocol {SUBPROTOCOL})")
        else:
            self.finish()
            description = str(self._address)
            self._done(
                WebSocketPipe(self._inner, is_server=False, description=description, early=early)
            )

    def fail(self, why: str) -> None:
        if not self._is_over:
            self.abandon()
            self._done(ConnectFailed(f"cannot connect to {self._address}: {why}"))


class _Dialing:
    """A connect: first of the pipe below, then the handshake."""

    def __init__(
        self, address: Address, below: Address, options: WebSocketOptions, done: Connected
    ) -> None:
        self._address = address
        self._options = options
        self._done = done
        self._below = below
        self._client: _Client | None = None
        self._pending: Pending | None = None

    def begin(self, network: Network, pump: Pump) -> None:
        self._pending = network.connect_nowait(self._below, pump, self._connected)

    def _connected(self, result: Pipe | ConnectFailed) -> None:
        self._pending = None
        if isinstance(result, ConnectFailed):
            text = str(result).replace(str(self._below), str(self._address))
            self._done(ConnectFailed(text, refused=result.refused))
        else:
            self._client = _Client(result, self._address, self._options, self._done)
            self._client.ask()

    def cancel(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
        elif self._client is not None:
            self._client.abandon()


def connect_websocket(
    network: Network,
    address: Address,
    below: Address,
    pump: Pump,
    options: WebSocketOptions,
    done: Connected,
) -> Pending:
    """Begin to connect to *below*, then ask there for a WebSocket at the path of *address*.

    *done* gets the `WebSocketPipe`, or a `ConnectFailed` that says what to do about it.
    """
    dialing = _Dialing(address, below, options, done)
    dialing.begin(network, pump)
    return dialing


# --- the server ----------------------------------------------------------------------------


@dataclass
class _Refusal(Exception):
    """The answer for a request that does not get a WebSocket."""

    status: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class _Door:
    """The handshakes of one listener."""

    def __init__(
        self, address: Address, options: WebSocketOptions, accept: Callable[[Pipe], None]
    ) -> None:
        self.path = address.path or "/"
        self.options = options
        self.accept = accept
        self.open: set[_Server] = set()

    def let_in(self, inner: Pipe) -> None:
        server = _Server(inner, self)
        self.open.add(server)
        server.begin()

    def close(self) -> None:
        for server in list(self.open):
            server.abandon()


class _Server(_Handshake):
    """Answers a request for a WebSocket."""

    def __init__(self, inner: Pipe, door: _Door) -> None:
        super().__init__(inner)
        self._door = door
        self._is_refused = False

    def check_start(self, start: bytes) -> bool:
        if self._is_refused:
            self._received.clear()  # the rest of a request that has been answered
            return False
        if start[:1] == b"\x16":
            self._refuse(_Refusal(400, "This port has no TLS: use ws:// in place of wss://."))
            return False
        if not start.split(b" ")[0].isalpha():
            self._refuse(_Refusal(400, "This port speaks HTTP: dial it with ws://, not tcp://."))
            return False
        return True

    def head_arrived(self, head: bytes, early: bytes) -> None:
        try:
            answer = _answer(head, self._door)
        except _Refusal as refusal:
            self._refuse(refusal)
        else:
            self.write(answer, lambda: self._accepted(early))

    def _accepted(self, early: bytes) -> None:
        self.finish()
        name = self._inner.description
        pipe = WebSocketPipe(self._inner, is_server=True, description=name, early=early)
        self._door.accept(pipe)

    def _refuse(self, refusal: _Refusal) -> None:
        """Answer, and leave the other side a moment to read it."""
        name = self._inner.description
        _log.info("no WebSocket for %s: %d %s", name, refusal.status, refusal.text)
        self._is_refused = True
        self._timer.cancel()
        self._timer = self._inner.pump.call_later(LINGER_SECONDS, self.abandon)
        self._received.clear()
        self.write(_encode(refusal), self._inner.send_eof)

    def fail(self, why: str) -> None:
        if self._is_over:
            return
        if not self._is_refused:
            _log.info("no WebSocket for %s: %s", self._inner.description, why)
        self.abandon()

    def finish(self) -> None:
        super().finish()
        self._door.open.discard(self)


def _answer(head: bytes, door: _Door) -> bytes:
    """Return the response that accepts the request in *head*; raise _Refusal otherwise."""
    http = h11.Connection(h11.SERVER)
    http.receive_data(head)
    try:
        request = http.next_event()
    except h11.RemoteProtocolError:
        raise _Refusal(400, "This is not HTTP/1.1 as it should be.") from None
    if not isinstance(request, h11.Request):
        raise _Refusal(400, "This is not HTTP/1.1 as it should be.")
    headers = list(request.headers)
    _check_request(request, dict(headers), door)
    websocket = WSConnection(ConnectionType.SERVER)
    try:
        websocket.initiate_upgrade_connection(headers, request.target)
        event = next(iter(websocket.events()), None)
    except (RemoteProtocolError, UnicodeError) as error:
        version = (("Sec-WebSocket-Version", "13"),)
        raise _Refusal(400, f"The handshake is wrong: {_plain(error)}.", version) from None
    if not isinstance(event, Request) or SUBPROTOCOL not in event.subprotocols:
        text = f"This is a tunnel: ask for the subprotocol {SUBPROTOCOL}."
        raise _Refusal(400, text)
    return websocket.send(AcceptConnection(subprotocol=SUBPROTOCOL))


def _check_request(request: h11.Request, headers: dict[bytes, bytes], door: _Door) -> None:
    if headers.get(b"upgrade", b"").lower() != b"websocket":
        text = (
            "This is the port of a tunnel: it speaks WebSocket, and has no pages to show.\n"
            f"Connect with tunnelkit (ws:// or wss://, path {door.path}), "
            f"or ask for the subprotocol {SUBPROTOCOL}."
        )
        raise _Refusal(426, text, (("Upgrade", "websocket"),))
    if request.method != b"GET":
        raise _Refusal(400, "The method of a WebSocket handshake must be GET.")
    if request.target.partition(b"?")[0] != door.path.encode():
        raise _Refusal(404, "There is no tunnel at this path.")
    token = door.options.bearer_token
    if token is not None:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        is_right = hmac.compare_digest(given.strip(), token.encode())
        if scheme.lower() != b"bearer" or not is_right:
            text = "The bearer token is missing or wrong."
            raise _Refusal(401, text, (("WWW-Authenticate", "Bearer"),))


def _encode(refusal: _Refusal) -> bytes:
    body = f"{refusal.text}\n".encode()
    lines = [
        f"HTTP/1.1 {refusal.status} {_REASONS[refusal.status]}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: " + ("Upgrade, close" if refusal.status == 426 else "close"),
        *(f"{name}: {value}" for name, value in refusal.headers),
    ]
    return "\r\n".join(lines).encode() + _HEAD_END + body


_REASONS: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    426: "Upgrade Required",
}


def _plain(error: Exception) -> str:
    """Return what was wrong, without any of the peer's bytes."""
    text = str(error)
    if isinstance(error, UnicodeError):
        return "a header is not ASCII"
    for known in ("unrecognized extension", "unrecognized subprotocol"):
        if text.startswith(known):
            return f"it chose what nobody offered ({known})"
    return text


class _WebSocketListener:
    """A listener, and the handshakes that it has begun."""

    def __init__(self, below: Listener, address: Address, door: _Door) -> None:
        self._below = below
        self._door = door
        self.address = address

    def close(self) -> None:
        self._below.close()
        self._door.close()


async def listen_websocket(
    network: Network,
    address: Address,
    below: Address,
    pump: Pump,
    options: WebSocketOptions,
    accept: Callable[[Pipe], None],
) -> Listener:
    """Listen on *below* and accept WebSockets at the path of *address*.

    Raises:
        ConfigurationError: the address cannot be listened on; the text says why.
    Cancellation: atomic.
    """
    door = _Door(address, options, accept)
    listener = await network.listen(below, pump, door.let_in)
    real = replace(address, host=listener.address.host, port=listener.address.port)
    return _WebSocketListener(listener, real, door)
