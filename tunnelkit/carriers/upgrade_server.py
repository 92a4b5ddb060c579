"""The server's side of the WebSocket handshake, with an answer in plain words for everybody else.

h11 and wsproto read and write the HTTP; here is what a tunnel wants of it: one path, one
subprotocol, perhaps a bearer token, and no compression.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import h11
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request
from wsproto.utilities import RemoteProtocolError

from tunnelkit.addresses import Address
from tunnelkit.bucket import Seldom
from tunnelkit.pump import Pump

from .exchange import MAX_HEAD_BYTES, Handshake
from .http_answers import answer
from .pipe import Listener, Network, Pipe, PipeBroken
from .upgrade_options import SUBPROTOCOL, WebSocketOptions, plain
from .websocket import WebSocketPipe

__all__ = ["listen_websocket"]

_log = logging.getLogger(__name__)

LINGER_SECONDS: Final = 1.0
"""How long a refused client may take to read why, seconds."""


@dataclass
class _Refusal(Exception):
    """The answer for a request that does not get a WebSocket."""

    status: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class _Door:
    """The handshakes of one listener."""

    def __init__(
        self,
        address: Address,
        options: Callable[[], WebSocketOptions],
        accept: Callable[[Pipe], None],
    ) -> None:
        self.path = address.path or "/"
        self.options = options
        self.accept = accept
        self.open: set[_Server] = set()
        self.refusals = Seldom()

    def let_in(self, inner: Pipe) -> None:
        server = _Server(inner, self)
        self.open.add(server)
        server.begin()

    def close(self) -> None:
        for server in list(self.open):
            server.abandon()


class _Server(Handshake):
    """Answers a request for a WebSocket."""

    def __init__(self, inner: Pipe, door: _Door) -> None:
        super().__init__(inner)
        self._door = door
        self._is_refused = False

    def check_start(self, start: bytes) -> bool:
        if self._is_refused:
            self.received.clear()  # the rest of a request that has been answered
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
            accepted = _accept(head, self._door)
        except _Refusal as refusal:
            self._refuse(refusal)
        else:
            self.write(accepted, lambda: self._accepted(early))

    def _accepted(self, early: bytes) -> None:
        self.finish()
        name = self._inner.description
        pipe = WebSocketPipe(self._inner, is_server=True, description=name, early=early)
        self._door.accept(pipe)

    def _refuse(self, refusal: _Refusal) -> None:
        """Answer, and leave the other side a moment to read it."""
        cause = refusal.text.partition("\n")[0]
        self._tell(f"{refusal.status} {cause}")
        self._is_refused = True
        self._timer.cancel()
        self._timer = self._inner.pump.call_later(LINGER_SECONDS, self.abandon)
        self.received.clear()
        said = answer(refusal.status, refusal.text, refusal.headers)
        try:
            self.write(said, self._inner.send_eof)
        except PipeBroken:
            self.abandon()

    def too_late(self) -> None:
        if self.received.start and not self._is_refused:
            text = f"The request was not complete within {self._seconds:g} s."
            self._refuse(_Refusal(408, text))
        else:
            super().too_late()

    def too_large(self) -> None:
        self._refuse(_Refusal(431, f"The request has more than {MAX_HEAD_BYTES} bytes of headers."))

    def fail(self, why: str) -> None:
        if self._is_over:
            return
        if not self._is_refused:
            self._tell(why)
        self.abandon()

    def _tell(self, why: str) -> None:
        more = self._door.refusals.ending(trio.current_time())
        if more is not None:
            _log.info("no WebSocket for %s: %s%s", self._inner.description, why, more)

    def finish(self) -> None:
        super().finish()
        self._door.open.discard(self)


def _accept(head: bytes, door: _Door) -> bytes:
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
    if request.http_version < b"1.1":
        raise _Refusal(400, "A WebSocket needs HTTP/1.1.")
    websocket = WSConnection(ConnectionType.SERVER)
    try:
        websocket.initiate_upgrade_connection(headers, request.target)
        event = next(iter(websocket.events()), None)
    except (RemoteProtocolError, UnicodeError) as error:
        version = (("Sec-WebSocket-Version", "13"),)
        raise _Refusal(400, f"The handshake is wrong: {plain(error)}.", version) from None
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
    if not door.options().lets_in(headers.get(b"authorization", b"")):
        text = "The bearer token is missing or wrong."
        raise _Refusal(401, text, (("WWW-Authenticate", "Bearer"),))


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
    options: Callable[[], WebSocketOptions],
    accept: Callable[[Pipe], None],
) -> Listener:
    """Listen on *below* and accept WebSockets at the path of *address*.

    Args:
        options: asked at each handshake, so that tokens can change.

    Raises:
        ConfigurationError: the address cannot be listened on; the text says why.
    Cancellation: atomic.
    """
    door = _Door(address, options, accept)
    listener = await network.listen(below, pump, door.let_in)
    real = replace(address, host=listener.address.host, port=listener.address.port)
    return _WebSocketListener(listener, real, door)
