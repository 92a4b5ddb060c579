"""Relays TCP connections, until they are reset on both sides at once.

It stands where a link crosses something that forgets connections: a NAT, a load balancer, a
firewall.  New connections are accepted all the time.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import trio

from benchmarks.load import Address

__all__ = ["Cutter", "open_cutter"]

CHUNK_BYTES: Final = 256 * 1024

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing drops what is unsent, and sends a reset (socket(7))."""


class Cutter:
    """A relay to one target. Open it with `open_cutter`."""

    def __init__(self, target: Address, address: Address) -> None:
        self.address = address
        self.accepted_count = 0
        self._target = target
        self._pairs: dict[trio.CancelScope, tuple[trio.SocketStream, trio.SocketStream]] = {}

    def cut(self) -> int:
        """Reset all connections on both sides; return how many there were."""
        pairs = list(self._pairs.items())
        for scope, streams in pairs:
            for stream in streams:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                stream.socket.close()
            scope.cancel()
        return len(pairs)

    async def relay(self, client: trio.SocketStream) -> None:
        """Join one client to the target; a connection that breaks ends both."""
        self.accepted_count += 1
        try:
            async with client, await trio.open_tcp_stream(*_parts(self._target)) as target:
                with trio.CancelScope() as scope:
                    self._pairs[scope] = (client, target)
                    try:
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(_copy, client, target)
                            nursery.start_soon(_copy, target, client)
                    finally:
                        del self._pairs[scope]
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@asynccontextmanager
async def open_cutter(target: Address, host: str) -> AsyncGenerator[Cutter]:
    """Open a relay that listens at a port of *host*; leaving ends all of its connections."""
    listeners = await trio.open_tcp_listeners(0, host=host)
    cutter = Cutter(target, Address(host, listeners[0].socket.getsockname()[1]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, cutter.relay, listeners)
        yield cutter
        nursery.cancel_scope.cancel()


def _parts(address: Address) -> tuple[str, int]:
    return address.host, address.port


async def _copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    """Copy one direction to its end, and pass the end on."""
    while data := await source.receive_some(CHUNK_BYTES):
        await sink.send_all(data)
    await sink.send_eof()
