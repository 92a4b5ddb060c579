"""Both ends of a TLS connection in memory, and what a test does with them."""

from __future__ import annotations

from tests.tunnelkit.certificates import tls_settings
from tests.tunnelkit.pairs import wait_until
from tests.tunnelkit.test_carriers import Joined
from tunnelkit.addresses import Address
from tunnelkit.carriers import Pipe, TlsSettings
from tunnelkit.carriers.tls import TlsPipe, tls_client, tls_server
from tunnelkit.pump import Pump
from tunnelkit.testing import MemoryNetwork, memory_pipe_pair

__all__ = ["NoListener", "TlsPair", "join_memory", "make_pair", "run", "up"]


class NoListener:
    """The listener of a connection that none accepted."""

    address = Address("memory", "right", 1)

    def close(self) -> None:
        """There is nothing to close."""


class TlsPair(Joined):
    """A client (left) and a server (right); `wire` are the pipes inside."""

    left: TlsPipe
    right: TlsPipe
    wire: tuple[Pipe, Pipe]


def make_pair(
    pump: Pump,
    *,
    client: TlsSettings | None = None,
    server: TlsSettings | None = None,
    network: MemoryNetwork | None = None,
    host: str = "right",
) -> TlsPair:
    """Return both ends, not started."""
    wire = memory_pipe_pair(pump, network)
    left = tls_client(wire[0], client or tls_settings(), host)
    right = tls_server(wire[1], server or tls_settings())
    pair = TlsPair(left, right, NoListener())
    pair.wire = wire
    return pair


def join_memory(pump: Pump) -> Joined:
    """Return both ends, over a memory network."""
    return make_pair(pump)


async def up(*pipes: Pipe) -> None:
    """Start pipes and wait until each is writable, or broken: the handshakes are over."""
    for pipe in pipes:
        run(pipe)
        pipe.want(False, True)
    ends = [pipe for pipe in pipes if isinstance(pipe, TlsPipe)]
    await wait_until(lambda: all(p.is_established or p.broken for p in ends), step=0.001)
    for pipe in pipes:
        pipe.want(False, False)


def run(pipe: Pipe) -> None:
    """Start a pipe whose handler wants nothing more."""
    pipe.start(lambda readable, writable: pipe.want(False, False))
