"""The client's side of the WebSocket handshake: asks for one, and explains every other answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.utilities import RemoteProtocolError

from tunnelkit.addresses import Address
from tunnelkit.pump import Pump

from .exchange import ClientHandshake, LayeredConnect, printable
from .pipe import Connected, Network, Pending, Pipe
from .tls_settings import LINK_ALPN
from .upgrade_options import SUBPROTOCOL, WebSocketOptions, plain
from .websocket import WebSocketPipe

__all__ = ["connect_websocket"]

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_HINTS: Final = {
    400: "the server, or a proxy in front of it, does not take the request",
    401: "the server wants another bearer token",
    403: "the server does not let this client in; look at its rules",
    404: "there is nothing at this path; compare it with the server's",
    407: "a proxy on the way wants a user name and a password",
    426: "the server wants another protocol; is this the address of a tunnel?",
    429: "the server wants fewer attempts; try again later",
    500: "the server, or a proxy in front of it, failed; look at its log",
    502: "a proxy on the way does not reach the tunnel; is the tunnel running?",
    503: "the server is not ready; try again later",
    504: "a proxy on the way does not reach the tunnel; is the tunnel running?",
}


def explain_status(code: int, headers: list[tuple[bytes, bytes]]) -> str:
    """Return what an answer other than 101 means, and what to do."""
    for wanted in (value for name, value in headers if name.lower() == b"upgrade"):
        if wanted.startswith(b"TLS/"):
            return "the server speaks TLS: use wss:// in place of ws://"
        if wanted == LINK_ALPN.encode():
            return "it is a tunnel without WebSocket: dial tcp://, or tls:// in place of wss://"
    if code in _REDIRECTS:
        found = [value for name, value in headers if name.lower() == b"location"]
        where = f" to {printable(found[0])}" if found else ""
        return f"the server sends clients on{where}; give the address of the tunnel itself"
    return _HINTS.get(code, "is this the address of a tunnel?")


class _Client(ClientHandshake):
    """Asks for a WebSocket."""

    def __init__(
        self, inner: Pipe, address: Address, options: WebSocketOptions, done: Connected
    ) -> None:
        super().__init__(inner, address, done)
        self._http = WSConnection(ConnectionType.CLIENT)
        self._options = options

    def request(self) -> bytes:
        address = self._address
        request = Request(
            host=replace(address, host=address.name).host_port,
            target=address.path or "/",
            subprotocols=[SUBPROTOCOL],
            extra_headers=self._options.fields(),
        )
        return self._http.send(request)

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
            self.fail(f"the server's handshake is wrong: {plain(error)}")
            return
        if isinstance(event, RejectConnection):
            code = event.status_code
            hint = explain_status(code, list(event.headers))
            self.fail(f"the server answered HTTP {code}: {hint}")
        elif not isinstance(event, AcceptConnection):
            self.fail("the server's handshake is wrong: bad HTTP message")
        elif event.subprotocol != SUBPROTOCOL:
            self.fail(f"it is a WebSocket, but not of a tunnel (subprotocol {SUBPROTOCOL})")
        else:
            name = str(self._address)
            self.succeed(
                lambda: WebSocketPipe(self._inner, is_server=False, description=name, early=early)
            )


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
    connect = LayeredConnect(address, lambda pipe: _Client(pipe, address, options, done), done)
    connect.connect(network, below, pump)
    return connect
