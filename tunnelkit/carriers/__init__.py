"""Carriers: a byte pipe from an address.

A carrier turns an address into `Pipe` objects, by connecting or by listening.  Everything above
(links, splices, the broker) uses only that interface, so one engine serves TCP, TLS, WebSockets,
unix sockets and the memory network of `tunnelkit.testing`.  Where pipes come from is a `Network`
that is handed in: `SYSTEM_NETWORK` by default, a host of a memory network in a test.
"""

from __future__ import annotations

import trio

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.pump import Pump

from .pipe import ConnectFailed, Listener, Network, Pending, Pipe, PipeBroken
from .proxy_settings import ProxySettings
from .sockets import SYSTEM_NETWORK, SocketNetwork, SocketPipe
from .tls import TlsPipe
from .tls_settings import TlsSettings
from .upgrade_options import WebSocketOptions

__all__ = [
    "SYSTEM_NETWORK",
    "ConnectFailed",
    "Listener",
    "Network",
    "Pending",
    "Pipe",
    "PipeBroken",
    "ProxySettings",
    "SocketNetwork",
    "SocketPipe",
    "TlsPipe",
    "TlsSettings",
    "WebSocketOptions",
    "connect",
]


async def connect(
    network: Network,
    address: Address,
    pump: Pump,
    timeout: float = limits.CONNECT_TIMEOUT_SECONDS,
) -> Pipe:
    """Connect to *address* within *timeout* seconds, name look-up included.

    Raises:
        ConnectFailed: the text names the address and the cause.
    Cancellation: atomic; a connection that was made is closed.
    """
    outcome: list[Pipe | ConnectFailed] = []
    finished = trio.Event()

    def done(result: Pipe | ConnectFailed) -> None:
        outcome.append(result)
        finished.set()

    shown = address
    with trio.move_on_after(timeout) as scope:
        resolved = await network.resolve(address)
        if not resolved.looked_up:
            shown = resolved  # it says through which proxy
        pending = network.connect_nowait(resolved, pump, done)
        try:
            await finished.wait()
        except trio.Cancelled:
            pending.cancel()
            if outcome and isinstance(outcome[0], Pipe):
                outcome[0].close()
            raise
    if scope.cancelled_caught:
        raise ConnectFailed(f"cannot connect to {shown}: no answer within {timeout:g} s")
    result = outcome[0]
    if isinstance(result, ConnectFailed):
        raise result
    return result
