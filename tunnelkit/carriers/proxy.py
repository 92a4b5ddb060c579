"""Links through HTTP proxies: the tunnel that CONNECT makes, as a pipe.

Below a link's own layers (TLS, WebSocket) stands the pipe to the proxy, perhaps in TLS of its own.
On it CONNECT is asked and answered, driven by the pump as the handshake of a WebSocket is, and then
the pipe belongs to the link: nothing of this stays on the way of its bytes.

Which way an address goes is decided once, by `ProxiedNetwork.resolve`: it looks up the proxy's name
in place of the host's, which only the proxy may know, and the way goes along in a `RoutedAddress`.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final

from tunnelkit.addresses import Address
from tunnelkit.errors import ConfigurationError
from tunnelkit.pump import Pump
from tunnelkit.wire.stream import Buffer

from .exchange import ClientHandshake, HeadTooLarge, LayeredConnect
from .pipe import Connected, ConnectFailed, Listener, Network, Pending, Pipe
from .proxy_http import AnswerWrong, connect_request, explain, read_answer
from .proxy_settings import Proxy, ProxySettings
from .tls import tls_client
from .tls_settings import TlsSettings

__all__ = ["ProxiedNetwork", "RoutedAddress", "connect_through"]

TIMEOUT_SECONDS: Final = 8.0
"""Time for TLS with the proxy, CONNECT and its answer, seconds.  The proxy dials the other side
meanwhile.  It is less than a whole connect may take.  Stops: proxies that hang."""


@dataclass(frozen=True, slots=True)
class Route:
    """The proxy to go through, and where it was found."""

    proxy: Proxy
    at: Address
    tls: TlsSettings | None = None


@dataclass(frozen=True, slots=True)
class RoutedAddress(Address):
    """An address that is reached through a proxy; its host is not looked up."""

    route: Route | None = None

    # By its full name: `super()` does not work in a class with slots that dataclass made anew.
    def __str__(self) -> str:
        shown = Address.__str__(self)
        return f"{shown} through {self.route.proxy}" if self.route else shown


def route_address(address: Address, route: Route) -> RoutedAddress:
    """Return *address* with the way to it."""
    parts = {item.name: getattr(address, item.name) for item in fields(Address)}
    return RoutedAddress(**parts, route=route)


class ProxiedNetwork(Network):
    """Another network, in which links go through proxies.

    Args:
        straight: the network; its `connect_nowait` knows `RoutedAddress`.
        settings: which proxies.
    """

    def __init__(self, straight: Network, settings: ProxySettings) -> None:
        self._straight = straight
        self._settings = settings

    async def resolve(self, address: Address) -> Address:
        try:
            proxy = self._settings.choose(address)
        except ConfigurationError as error:
            raise ConnectFailed(f"cannot connect to {address}: {error}") from error
        if proxy is None:
            return await self._straight.resolve(address)
        try:
            at = await self._straight.resolve(proxy.address)
        except ConnectFailed as error:
            text = f"cannot connect to {address} through {proxy}: the proxy: {error}"
            raise ConnectFailed(text) from error
        return route_address(address, Route(proxy, at, self._settings.tls))

    def connect_nowait(self, address: Address, pump: Pump, done: Connected) -> Pending:
        return self._straight.connect_nowait(address, pump, done)

    async def listen(
        self, address: Address, pump: Pump, accept: Callable[[Pipe], None]
    ) -> Listener:
        return await self._straight.listen(address, pump, accept)


def connect_through(
    network: Network, address: Address, route: Route, pump: Pump, done: Connected
) -> Pending:
    """Begin to connect to the proxy, then ask it for a tunnel to *address*.

    *done* gets the pipe of the tunnel, or a `ConnectFailed` that says what to do about it.
    """

    def begin(pipe: Pipe) -> ClientHandshake:
        return _Connect(_to_proxy(pipe, address, route), address, route.proxy, done)

    connect = LayeredConnect(address, begin, done, prefix="the proxy: ")
    connect.connect(network, route.at, pump)
    return connect


def _to_proxy(pipe: Pipe, address: Address, route: Route) -> Pipe:
    if route.proxy.scheme == "http":
        return pipe
    try:
        tls = route.tls or TlsSettings()
        return tls_client(pipe, tls, route.proxy.host, alpn="http/1.1", require_alpn=False)
    except (ConfigurationError, ValueError) as error:
        pipe.close()
        raise ConnectFailed(f"cannot connect to {address}: the proxy: {error}") from error


class _Connect(ClientHandshake):
    """Asks a proxy for a tunnel."""

    def __init__(self, inner: Pipe, address: Address, proxy: Proxy, done: Connected) -> None:
        super().__init__(inner, address, done, TIMEOUT_SECONDS)
        self._proxy = proxy

    def request(self) -> bytes:
        return connect_request(self._address, self._proxy.login)

    def too_late(self) -> None:
        self.fail(
            f"the proxy has not answered within {TIMEOUT_SECONDS:g} s: "
            "perhaps it does not reach the other side"
        )

    def closed_early(self) -> None:
        self.fail("the proxy closed the connection without an answer: does it allow this client?")

    def check_start(self, start: bytes) -> bool:
        expected = b"HTTP/1."
        if start[: len(expected)] == expected[: len(start)]:
            return True
        if start[:1] == b"\x15" and self._proxy.scheme == "http":
            self.fail("the proxy speaks TLS: write https:// before its host")
        else:
            self.fail("the answer is not HTTP: is this the address of an HTTP proxy?")
        return False

    def head_arrived(self, head: bytes, early: bytes) -> None:
        try:
            while (answer := read_answer(head)).is_interim:
                self.received.clear()
                self.received.feed(early)
                found = self.received.take_head()
                if found is None:
                    return
                head, early = found
        except (AnswerWrong, HeadTooLarge):
            self.fail("the answer is not HTTP as it should be: is it the address of an HTTP proxy?")
            return
        if answer.is_open:
            self.succeed(lambda: self._tunnel(early))
        else:
            self.fail(explain(answer, self._proxy, self._address))

    def _tunnel(self, early: bytes) -> Pipe:
        self._inner.description = str(self._address)
        return EarlyPipe(self._inner, early) if early else self._inner

    def fail(self, why: str) -> None:
        # TLS does not know that it is with a proxy, whose settings have other names.
        if "does not speak TLS" in why:
            why = "the proxy does not speak TLS: write http:// before its host"
        why = why.replace("--tls-ca", "--proxy-ca")
        super().fail(why if "the proxy" in why or "the answer" in why else f"the proxy: {why}")


class EarlyPipe(Pipe):
    """A pipe of which some bytes have been read already: they come first.

    Args:
        inner: the pipe, which it owns.
        early: the bytes.
    """

    def __init__(self, inner: Pipe, early: bytes) -> None:
        self.pump = inner.pump
        self.description = inner.description
        self._inner = inner
        self._early = early
        self._handler: Callable[[bool, bool], object] | None = None
        self._wants_read = False
        self._scheduled = False

    def start(self, handler: Callable[[bool, bool], None]) -> None:
        context = contextvars.copy_context()
        self._handler = lambda readable, writable: context.run(handler, readable, writable)
        self._wants_read = False
        self._inner.start(handler)

    def want(self, readable: bool, writable: bool) -> None:
        self._wants_read = readable
        self._inner.want(readable, writable)
        self._poke()

    def _poke(self) -> None:
        """Have the handler called for the bytes that the pipe inside does not know of."""
        if self._early and self._wants_read and not self._scheduled:
            self._scheduled = True
            self.pump.call_soon(self._serve)

    def _serve(self) -> None:
        self._scheduled = False
        if self._early and self._wants_read and self._handler is not None:
            try:
                self._handler(True, False)
            finally:
                self._poke()

    def try_send(self, data: Buffer) -> int:
        return self._inner.try_send(data)

    def try_send_many(self, buffers: Sequence[Buffer]) -> int:
        return self._inner.try_send_many(buffers)

    def try_receive_into(self, buffer: memoryview) -> int:
        if not self._early:
            return self._inner.try_receive_into(buffer)
        if not len(buffer):
            return -1
        count = min(len(buffer), len(self._early))
        buffer[:count] = self._early[:count]
        self._early = self._early[count:]
        return count

    def try_receive(self, max_bytes: int) -> Buffer | None:
        if not self._early:
            return self._inner.try_receive(max_bytes)
        data, self._early = self._early[:max_bytes], self._early[max_bytes:]
        return data

    def check(self) -> None:
        self._inner.check()

    def send_eof(self) -> None:
        self._inner.send_eof()

    def close(self) -> None:
        self._handler = None
        self._inner.close()

    def reset(self) -> None:
        self._handler = None
        self._inner.reset()
