"""A host of a memory network whose links go through a proxy, and proxies that say anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.tunnelkit.carriers_websocket.ends import End
from tests.tunnelkit.certificates import authority
from tunnelkit.addresses import Address
from tunnelkit.carriers import (
    Listener,
    Network,
    Pending,
    Pipe,
    ProxySettings,
    TlsSettings,
    WebSocketOptions,
    connect,
)
from tunnelkit.carriers.pipe import Connected
from tunnelkit.carriers.proxy import ProxiedNetwork, RoutedAddress, connect_through
from tunnelkit.carriers.upgrade import connect_websocket
from tunnelkit.pump import Pump
from tunnelkit.testing import MemoryNetwork

BROKER = Address("tcp", "broker.example", 7000)
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


class MemorySockets(Network):
    """A host on which ``tcp://`` and ``ws://`` addresses work too, straight or by a route."""

    def __init__(self, host: Network) -> None:
        self.host = host

    async def resolve(self, address: Address) -> Address:
        return await self.host.resolve(replace(address, scheme="memory"))

    def connect_nowait(self, address: Address, pump: Pump, done: Connected) -> Pending:
        if address.scheme == "ws":
            below = replace(address, scheme="tcp", path="")
            return connect_websocket(self, address, below, pump, WebSocketOptions(), done)
        if isinstance(address, RoutedAddress) and address.route is not None:
            return connect_through(self.host, address, address.route, pump, done)
        return self.host.connect_nowait(address, pump, done)

    async def listen(
        self, address: Address, pump: Pump, accept: Callable[[Pipe], None]
    ) -> Listener:
        return await self.host.listen(replace(address, scheme="memory"), pump, accept)


class Stage:
    """A host "client", and one "proxy" that says what a test wants."""

    def __init__(self, pump: Pump) -> None:
        self.pump = pump
        self.network = MemoryNetwork()
        self.client = MemorySockets(self.network.host("client"))
        self.proxy = self.network.host("proxy")
        self.asked: list[End] = []

    async def stand_in(
        self, answer: bytes, wrap: Callable[[Pipe], Pipe] = lambda pipe: pipe
    ) -> Listener:
        """Be a proxy that says *answer* as soon as it has been asked."""

        def accept(pipe: Pipe) -> None:
            self.asked.append(_Answering(wrap(pipe), answer))

        return await self.proxy.listen(Address("memory", "proxy", 3128), self.pump, accept)

    async def dial(self, url: str = "http://proxy:3128", address: Address = BROKER) -> Pipe:
        """Dial *address* through the proxy."""
        tls = TlsSettings(ca=authority().file) if url.startswith("https") else None
        network = ProxiedNetwork(self.client, ProxySettings.of_url(url, tls=tls))
        return await connect(network, address, self.pump)


class _Answering(End):
    """Says its answer when a whole request has come."""

    def __init__(self, pipe: Pipe, answer: bytes) -> None:
        self._answer = answer
        super().__init__(pipe)

    def _receive(self) -> None:
        super()._receive()
        if b"\r\n\r\n" in self.data and self._answer:
            answer, self._answer = self._answer, b""
            self.send(answer)
