"""Clients and services on a memory network: what stands at the outer ends of a tunnel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from tests.tunnelkit.faults.lab import Lab
from tunnelkit.addresses import Address
from tunnelkit.carriers import Listener, Pipe, PipeBroken, connect
from tunnelkit.pump import Pump, current_pump

__all__ = ["Service", "Wire", "answer", "call", "dial", "echo", "serve"]


class Wire(trio.abc.HalfCloseableStream):
    """A memory pipe as an ordinary Trio stream; a reset is `trio.BrokenResourceError`."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self._woken = trio.Event()
        self._wants = [False, False]
        pipe.start(self._ready)

    def _ready(self, readable: bool, writable: bool) -> None:
        self.pipe.want(False, False)
        self._woken.set()

    async def _wait(self, readable: bool) -> None:
        self._woken = trio.Event()
        self.pipe.want(readable, not readable)
        await self._woken.wait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            try:
                data = self.pipe.try_receive(max_bytes or 65536)
            except PipeBroken as error:
                raise trio.BrokenResourceError(str(error)) from None
            if data is not None:
                return bytes(data)
            await self._wait(readable=True)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while rest:
            try:
                sent = self.pipe.try_send(rest)
            except PipeBroken as error:
                raise trio.BrokenResourceError(str(error)) from None
            rest = rest[sent:]
            if rest and not sent:
                await self._wait(readable=False)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self.pipe.send_eof()

    async def aclose(self) -> None:
        self.pipe.close()
        await trio.lowlevel.checkpoint()

    def reset(self) -> None:
        """Close so that the other end sees a reset."""
        self.pipe.reset()


async def receive_all(wire: Wire) -> bytes:
    """Return everything up to the clean end."""
    data = bytearray()
    async for chunk in wire:
        data += chunk
    return bytes(data)


class Service:
    """A service under a name; it counts what reaches it."""

    def __init__(self, name: str, handler: Callable[[Service, Wire], Awaitable[None]]) -> None:
        self.name = name
        self.handler = handler
        self.connections = 0
        self.received = bytearray()
        self.resets = 0
        self.listener: Listener

    async def handle(self, wire: Wire) -> None:
        """Serve one connection."""
        try:
            await self.handler(self, wire)
        except trio.BrokenResourceError:
            self.resets += 1
        finally:
            wire.pipe.close()

    async def receive(self, wire: Wire) -> bytes:
        """Receive and count."""
        data = await wire.receive_some()
        self.received += data
        return data


async def answer(service: Service, wire: Wire) -> None:
    """Read to the end of file, then answer with the service's name and what was read."""
    data = bytearray()
    while chunk := await service.receive(wire):
        data += chunk
    await wire.send_all(service.name.encode() + b":" + data)
    await wire.send_eof()


async def echo(service: Service, wire: Wire) -> None:
    """Send back each piece, after the service's name."""
    while chunk := await service.receive(wire):
        await wire.send_all(service.name.encode() + b":" + chunk)
    await wire.send_eof()


async def serve(
    lab: Lab,
    host: str,
    port: int,
    handler: Callable[[Service, Wire], Awaitable[None]] = answer,
    name: str = "",
) -> Service:
    """Run a service on a host."""
    service = Service(name or host, handler)

    def accept(pipe: Pipe) -> None:
        service.connections += 1
        lab.nursery.start_soon(service.handle, Wire(pipe))

    network = lab.network.host(host)
    service.listener = await network.listen(Address("memory", host, port), _pump(), accept)
    return service


async def dial(lab: Lab, where: Address, host: str = "client") -> Wire:
    """Connect to an address from a host."""
    return Wire(await connect(lab.network.host(host), where, _pump()))


async def call(lab: Lab, where: Address, data: bytes = b"hello", host: str = "client") -> bytes:
    """Connect, send *data* and an end of file; return the answer.

    Raises:
        trio.BrokenResourceError: the connection was reset.
    """
    wire = await dial(lab, where, host)
    async with wire:
        await wire.send_all(data)
        await wire.send_eof()
        return await receive_all(wire)


def _pump() -> Pump:
    pump = current_pump()
    assert pump is not None  # a laboratory holds it
    return pump
